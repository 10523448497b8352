"""What it costs to learn a network, in forward passes of one image; of a pass that ends early, the part it ran."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from timm.models.efficientvim import EfficientViM
from timm.models.pit import PoolingVisionTransformer
from timm.models.tnt import TNT
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from pellucid.core.inputs import Inputs
from pellucid.core.runtime import Runtime
from pellucid.models.discovery import passage as measuring
from pellucid.models.discovery.layers import candidates, recommended
from pellucid.models.discovery.passage import ENOUGH, PAIRS, Passage
from pellucid.models.discovery.recording import profile_of
from pellucid.models.discovery.scenes import scenes, without_details
from pellucid.models.session.session import Session
from pellucid.phantom.models import cnn, vit
from tests.networks import Reordered, TinyCNN, TinyViT, images, seeded


class Passes:
    """The images of each pass through a network, and the part of its modules that the pass ran."""

    def __init__(self, network: nn.Module) -> None:
        self.begun: list[tuple[int, int]] = []
        network.register_forward_pre_hook(lambda _module, given: self.begun.append((len(given[0]), 0)))
        for module in network.modules():
            module.register_forward_hook(lambda *_: self.ran())

    def ran(self) -> None:
        images, modules = self.begun.pop()
        self.begun.append((images, modules + 1))

    @property
    def whole(self) -> float:
        """The passes of one image that all of them are together."""
        most = max((modules for _, modules in self.begun), default=1)
        return sum(images * modules / most for images, modules in self.begun)

    @property
    def images(self) -> int:
        return sum(images for images, _ in self.begun)


def passes_of(model: nn.Module) -> tuple[Session, Passes]:
    session = Session.of(model.eval(), Runtime())
    return session, Passes(session.network)


def tnt() -> nn.Module:
    widths = {"embed_dim": 32, "inner_dim": 8, "num_heads_inner": 2, "num_heads_outer": 2}
    return TNT(img_size=64, num_classes=3, depth=12, legacy=True, **widths)


def pit(distilled: bool = False) -> nn.Module:
    sizes = {"img_size": 64, "patch_size": 8, "stride": 4, "base_dims": (16,) * 3, "heads": (1, 2, 4)}
    return PoolingVisionTransformer(depth=(2, 6, 4), mlp_ratio=2, num_classes=3, distilled=distilled, **sizes)


def efficientvim(states: tuple[int, int, int] = (49, 25, 9)) -> nn.Module:
    return EfficientViM(num_classes=3, embed_dim=(16, 32, 64), depths=(2, 2, 2), state_dim=states)


def deep_vit() -> nn.Module:
    return VisionTransformer(img_size=32, patch_size=8, embed_dim=32, depth=12, num_heads=2)


KINDS: dict[str, tuple[Callable[[], nn.Module], tuple[int, int]]] = {
    "convolutions": (cnn, (1, 128)),
    "a trained transformer": (vit, (1, 128)),
    "a deep transformer": (deep_vit, (3, 32)),
    "transformers in transformers": (tnt, (3, 64)),
    "pooled transformers": (pit, (3, 64)),
    "pooled transformers, two tokens": (lambda: pit(distilled=True), (3, 64)),
    "hidden states": (efficientvim, (3, 224)),
    "as many states as a grid has cells": (lambda: efficientvim((16, 4, 4)), (3, 128)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_choice_costs_at_most_40_passes_of_one_image_and_later_ones_none(kind: str) -> None:
    build, (channels, side) = KINDS[kind]
    session, passes = passes_of(seeded(build))
    batch = Inputs.of(torch.rand(1, channels, side, side))
    recommended(session, batch)
    assert passes.whole <= 40
    passes.begun.clear()
    recommended(session, batch)
    assert passes.images == 0


def by_hand(model: TinyViT, blocks: int, pairs: int) -> float:
    """The share of the patches behind so many blocks."""

    def tokens(x: Tensor) -> Tensor:
        return model.blocks[:blocks](model.embed(x))

    looked_at = scenes(range(pairs), images(1))
    reference = without_details(scenes([0], images(1)))
    with torch.no_grad():
        held = tokens(looked_at)
        held[:, 1:] = tokens(reference)[:, 1:]
        held, score = model.head(model.norm(model.blocks[blocks:](held))[:, 0]), model(reference)
        return 1 - float((held - score).square().sum() / (model(looked_at) - score).square().sum())


@pytest.mark.parametrize("blocks", [1, 2])
@pytest.mark.parametrize("pairs", [2, PAIRS])
def test_a_bound_decides_as_the_share_does_and_stops_once_it_does(blocks: int, pairs: int) -> None:
    model = seeded(TinyViT).eval()
    layer = f"blocks.{blocks - 1}"
    session, passes = passes_of(model)
    passage = Passage.of(session, Inputs.of(images(1)), [layer])
    passes.begun.clear()
    share = max(0.0, by_hand(model, blocks, pairs))
    bound = passage.estimate((layer,), pairs, ENOUGH)
    assert bound is not None
    assert (bound >= ENOUGH) == (share >= ENOUGH)
    assert bound >= share - 1e-6
    bounded = passes.images
    assert passage.estimate((layer,), pairs) == pytest.approx(share, abs=1e-5)
    assert passes.images == pairs, "none is measured twice"
    assert bounded == 1


def test_a_layer_of_the_whole_score_is_measured_by_all_pairs() -> None:
    session, passes = passes_of(seeded(TinyViT))
    passage = Passage.of(session, Inputs.of(images(1)), ["patch"])
    passes.begun.clear()
    assert passage.estimate(("patch",), 2, ENOUGH) == pytest.approx(1)
    assert passes.images == 2
    assert passage.share(("patch",)) == pytest.approx(1)
    assert passes.images == PAIRS


def test_the_reference_is_passed_once_for_all_layers_unless_they_take_much_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    session, passes = passes_of(seeded(TinyViT))
    passage = Passage.of(session, Inputs.of(images(1)), ["norm"])
    passes.begun.clear()
    layers = ["norm", "blocks.1", "blocks.0", "patch"]
    everywhere = passage.at_all(layers)
    assert [everywhere.at([layer]) for layer in layers] == [everywhere] * 4
    assert passes.images == 1
    monkeypatch.setattr(measuring, "_MOST_OUTPUTS", 1)
    assert passage.at_all(layers) is passage
    assert everywhere.estimate(("patch",), 2) == pytest.approx(passage.at(["patch"]).estimate(("patch",), 2) or 0)


class Unused(TinyViT):
    """A class token's network whose last block returns its patches apart, so that no gradient reaches them."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.embed(x))
        return self.head(self.apart(x[:, :1], x[:, 1:])[0][:, 0])

    def __init__(self) -> None:
        super().__init__()
        self.apart = Apart()


class Apart(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.each = nn.ModuleList(nn.LayerNorm(24) for _ in range(8))

    def forward(self, own: Tensor, patches: Tensor) -> tuple[Tensor, Tensor]:
        for norm in self.each:
            patches = norm(patches)
        return own, patches


def test_layers_without_a_gradient_are_asked_together() -> None:
    session, passes = passes_of(seeded(Unused))
    batch = Inputs.of(images(1))
    profile = profile_of(session, batch)
    allowed = candidates(profile, session.network)
    assert allowed[:8] == [f"apart.each.{number}" for number in reversed(range(8))]
    whole = len(passes.begun)
    assert recommended(session, batch) == ("patch",)
    graphs = [given for given, _ in passes.begun[whole:]]
    assert graphs[:4] == [1, 1, 1, PAIRS], "the last alone in two kinds of graph, all together, then the scenes"


class Bright(TinyCNN):
    """A network whose last layer counts for bright images alone, and whose scores hardly move."""

    def __init__(self) -> None:
        super().__init__()
        self.late = nn.Conv2d(12, 12, 1)
        self.fc.weight.data.mul_(1e-7)

    def forward(self, x: Tensor) -> Tensor:
        early = self.features(x)
        late = self.late(early) * (x.mean(dim=(1, 2, 3), keepdim=True) > 5)
        return self.fc((early + late).mean((2, 3)))


@pytest.mark.parametrize("brightness", [0, 9])
def test_the_deepest_layer_does_not_depend_on_which_image_comes_first(brightness: int) -> None:
    session, _ = passes_of(seeded(Bright))
    assert recommended(session, Inputs.of(images(1) + brightness)) == ("features.4",)


class Few(Reordered):
    """Sorted tokens, in a network that takes a few images."""

    def __init__(self, most: int = 6) -> None:
        super().__init__(later=lambda x: x.gather(1, x.norm(dim=-1).argsort(dim=1)[..., None].expand_as(x)))
        self.most = most

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > self.most:
            raise ValueError(f"{self.most} images")
        return super().forward(x)


@pytest.mark.parametrize("most", [6, 5, 1])
def test_the_image_that_others_are_compared_with_is_passed_once(most: int) -> None:
    session, passes = passes_of(seeded(Few, most))
    profile = profile_of(session, Inputs.of(images(1, side=64)))
    assert "blocks.1" in profile.shuffled
    whole = max(modules for _, modules in passes.begun)
    assert sum(given for given, modules in passes.begun if modules == whole) == 1 + 6


def test_of_a_volume_it_is_passed_once_too() -> None:
    class Sorting(TinyCNN):
        def forward(self, x: Tensor) -> Tensor:
            cells = self.features(x).flatten(2)
            order = cells.norm(dim=1, keepdim=True).argsort(dim=2).expand_as(cells)
            sorted_cells = cells.gather(2, order).unflatten(2, (4, 4, 4))
            return self.fc(self.last(sorted_cells).flatten(2).mean(-1))

        def __init__(self) -> None:
            super().__init__(3)
            self.last = nn.Conv3d(12, 12, 1)

    session, passes = passes_of(seeded(Sorting))
    assert "last" in profile_of(session, Inputs.of(images(1, 3, side=16))).shuffled
    assert passes.images == 1 + 10, "none follows the first ten, so that the other ten are not needed"


def test_codes_ask_for_nothing_that_is_known() -> None:
    shuffled = torch.randperm(64, generator=torch.Generator().manual_seed(3))
    session, _ = passes_of(seeded(Reordered, lambda tokens, extra: torch.cat([extra, tokens[:, shuffled]], dim=1)))
    seen: list[Tensor] = []
    session.network.patch.register_forward_pre_hook(lambda _module, given: seen.extend(given[0]))
    profile_of(session, Inputs.of(images(1, side=64)))
    coded = seen[1 : 1 + 6 + 2 * 6]
    assert len({tuple(one.flatten().tolist()) for one in coded}) == len(coded)
