"""Where a network puts its patches among its tokens is found, and the maps are put there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

import pellucid
from pellucid.core.inputs import Inputs
from pellucid.core.runtime import Runtime
from pellucid.models.discovery.patches import located
from pellucid.models.discovery.recording import profile_of
from pellucid.models.engine import Pass
from pellucid.models.session.session import Session
from tests.networks import TinyViT, images, seeded


@pytest.mark.parametrize("prefix", [0, 1, 2, 5])
@pytest.mark.parametrize("side", [32, (32, 16), (16, 48)])
def test_tokens_are_put_where_their_patches_are(prefix: int, side: int | tuple[int, int]) -> None:
    """A bright patch in a black picture is where the embedding's map is brightest."""
    model = seeded(TinyViT, 2, 4, prefix, side).eval()
    model.blocks = nn.Sequential(nn.Identity())
    with torch.no_grad():
        model.patch.weight.fill_(1)
        model.position.zero_()
    size = (side, side) if isinstance(side, int) else side
    batch = torch.zeros(1, 3, *size)
    batch[:, :, -8:, 8:16] = 1
    embedded = Pass.of(Session.of(model, Runtime()), batch, ["blocks.0"]).activations()
    assert embedded.shape == (1, 1, 24, size[0] // 8, size[1] // 8)
    peak = int(embedded[0, 0].sum(0).argmax())
    assert divmod(peak, size[1] // 8) == (size[0] // 8 - 1, 1)


class Behind(TinyViT):
    """The class token, and registers, behind the patches."""

    def embed(self, x: Tensor) -> Tensor:
        return torch.roll(super().embed(x), -self.prefix, dims=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.blocks(self.embed(x)))
        return self.head(x[:, -self.prefix])


class ByColumns(TinyViT):
    """The patches column by column."""

    def embed(self, x: Tensor) -> Tensor:
        tokens = super().embed(x)
        rows, columns = x.shape[2] // 8, x.shape[3] // 8
        patches = tokens[:, self.prefix :].unflatten(1, (rows, columns)).transpose(1, 2).flatten(1, 2)
        return torch.cat([tokens[:, : self.prefix], patches], dim=1)


EVERYWHERE = ["attention", "rollout", "gradient_rollout", "legrad", "gradcam", "hirescam", "scorecam", "fullgrad"]


@pytest.mark.parametrize("method", EVERYWHERE)
@pytest.mark.parametrize("prefix", [1, 3])
@pytest.mark.parametrize("kind", [Behind, ByColumns])
def test_patches_are_where_they_are(kind: type[nn.Module], prefix: int, method: str) -> None:
    """Attention does not ask in which order its tokens come: the maps are the same."""
    side = (32, 48)
    plain, other = (seeded(each, 2, 4, prefix, side) for each in (TinyViT, kind))
    layers = {"layers": ["blocks.0"]} if "cam" in method else {}
    one, two = (
        pellucid.explain(model, images(2, side=side), method=method, targets="all", **layers)
        for model in (plain, other)
    )
    torch.testing.assert_close(one.attributions, two.attributions, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "prefix", "before", "by_columns"),
    [(TinyViT, 1, None, False), (TinyViT, 0, None, False), (Behind, 3, 0, False), (ByColumns, 2, None, True)],
)
def test_where_the_patches_stand_is_found(
    kind: type[nn.Module], prefix: int, before: int | None, by_columns: bool
) -> None:
    session, inputs = Session.of(seeded(kind, 2, 4, prefix, (32, 48)), Runtime()), Inputs.of(images(1, side=(32, 48)))
    profile = profile_of(session, inputs)
    grids = replace(profile.grids, before=None, by_columns=False)
    plain = replace(profile, grids=grids, frames=grids)
    found = located(plain, session, inputs).grids
    assert (found.before, found.by_columns) == (before, by_columns)
    assert found == replace(plain.grids, before=before, by_columns=by_columns)


def test_a_network_that_takes_one_image_only_keeps_the_common_layout() -> None:
    class Single(Behind):
        def forward(self, x: Tensor) -> Tensor:
            if len(x) > 1:
                raise ValueError("one image")
            return super().forward(x)

    session, inputs = Session.of(seeded(Single, 2, 4, 3), Runtime()), Inputs.of(images(1))
    assert profile_of(session, inputs).grids.before is None


def test_no_hook_stays_and_the_pass_ends_at_the_first_tokens() -> None:
    ran: list[int] = []
    model = seeded(TinyViT)
    session, inputs = Session.of(model, Runtime()), Inputs.of(images(1))
    profile = profile_of(session, inputs)
    session.network.head.register_forward_hook(lambda *_: ran.append(1))
    located(profile, session, inputs)
    assert ran == []
    assert sum(len(module._forward_hooks) for module in session.network.modules()) == 1


def deep(kernel: int = 1, count: int = 12) -> nn.Module:
    """A stem with more modules than the transformer behind it; the cells overlap with a large kernel."""
    middle = [nn.Sequential(nn.Conv2d(24, 24, kernel, padding="same"), nn.ReLU()) for _ in range(count)]
    return nn.Sequential(nn.Conv2d(3, 24, 3, 2, 1), *middle, nn.Conv2d(24, 24, 4, 4))


def resnet() -> nn.Module:
    return nn.Sequential(*list(torchvision.models.resnet18().children())[:6])


def convnext() -> nn.Module:
    network = timm.create_model("convnext_atto", num_classes=0)
    return nn.Sequential(network.stem, network.stages[0], network.stages[1])


STEMS = {"deep": (deep, 24), "resnet18": (resnet, 128), "convnext_atto": (convnext, 80)}


BETWEEN = 20
"""The cells before a class token that stands between them."""


class Hybrid(nn.Module):
    """A convolutional stem, and a transformer over its cells, whose class token comes first, last or between them."""

    def __init__(self, stem: Callable[[], nn.Module], width: int, order: str) -> None:
        super().__init__()
        self.stem, self.order, self.fc = stem(), order, nn.Linear(width, 3)
        self.token = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.block = nn.TransformerEncoderLayer(width, 4, 32, 0.0, batch_first=True, norm_first=True)

    def forward(self, x: Tensor) -> Tensor:
        cells = self.stem(x)
        patches = (cells.permute(0, 3, 2, 1) if self.order == "columns" else cells.permute(0, 2, 3, 1)).flatten(1, 2)
        token = self.token.expand(len(x), -1, -1)
        start = {"last": patches.shape[1], "between": BETWEEN}.get(self.order, 0)
        tokens = self.block(torch.cat([patches[:, :start], token, patches[:, start:]], dim=1))
        return self.fc(tokens.mean(1).tanh())


@pytest.mark.parametrize("name", STEMS)
@pytest.mark.parametrize("order", ["first", "last", "columns", "between"])
def test_tokens_behind_a_long_stem_are_placed_too(name: str, order: str) -> None:
    """They stood in no first quarter of the modules, and were drawn row by row after a first token, unmeasured."""
    model, batch = seeded(Hybrid, *STEMS[name], order).eval(), images(2, side=128)
    kept: list[Tensor] = []
    hook = model.block.register_forward_hook(lambda _module, _inputs, output: kept.append(output))
    scores = model(batch)
    hook.remove()
    (gradient,) = torch.autograd.grad(scores[:, 1].sum(), kept)
    tokens = (kept[0] * gradient).sum(dim=2).detach()
    start = {"last": 256, "between": BETWEEN}.get(order, 0)
    patches = torch.cat([tokens[:, :start], tokens[:, start + 1 :]], dim=1).unflatten(1, (16, 16))
    found = pellucid.explain(model, batch, "hirescam", [1, 1], layers=["block"])
    expected = patches.mT if order == "columns" else patches
    torch.testing.assert_close(found.attributions[:, 0], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("stem", [(3, 8), (5, 3), (7, 2)])
@pytest.mark.parametrize(("order", "expected"), [("first", (1, False)), ("last", (0, False)), ("columns", (1, True))])
def test_where_cells_overlap_random_patterns_say_the_order(
    order: str, expected: tuple[int, bool], stem: tuple[int, int]
) -> None:
    """The strongest tokens of the corners are those of other cells there."""
    model = seeded(Hybrid, lambda: deep(*stem), 24, order).eval()
    profile = profile_of(Session.of(model, Runtime()), Inputs.of(images(1, side=64)))
    layout = profile.layout("block", model.block)
    assert layout is not None
    assert (layout.prefix, layout.tokens[1] - layout.tokens[0] == 8) == expected


@pytest.mark.parametrize("stem", [(3, 8), (5, 3), (7, 2)])
def test_where_cells_overlap_what_does_not_depend_on_the_image_is_no_patch(stem: tuple[int, int]) -> None:
    """A class token among the patches was drawn as one of them, and the last patch not at all."""
    model = seeded(Hybrid, lambda: deep(*stem), 24, "between").eval()
    profile = profile_of(Session.of(model, Runtime()), Inputs.of(images(1, side=64)))
    layout = profile.layout("block", model.block)
    assert layout is not None
    assert layout.tokens == (*range(BETWEEN), *range(BETWEEN + 1, 65))
