"""Positions that are picked or sorted by what the image shows are no places, unless they are put back."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

import pellucid
from pellucid.core.inputs import Inputs
from pellucid.core.runtime import Runtime
from pellucid.errors import LayerError, NoAttentionError
from pellucid.models.discovery import fixed_order
from pellucid.models.discovery.fixed_order import moved_layers
from pellucid.models.discovery.impulses import Peak, centres_of
from pellucid.models.discovery.recording import profile_of
from pellucid.models.discovery.tokens import Layout
from pellucid.models.session.session import Session
from tests.networks import Reordered, TinyCNN, images, seeded

Later = Callable[[Tensor], Tensor]


def ranked(patches: Tensor) -> Tensor:
    """The patches' numbers by how strong they are, (B, T)."""
    return patches.norm(dim=-1).argsort(dim=1, descending=True)


def gathered(patches: Tensor, numbers: Tensor) -> Tensor:
    return patches.gather(1, numbers[..., None].expand(-1, -1, patches.shape[-1]))


def masked(patches: Tensor) -> Tensor:
    chosen = torch.zeros(patches.shape[:2], dtype=torch.bool).scatter(1, ranked(patches)[:, :16], True)
    return patches[chosen].unflatten(0, (len(patches), 16))


def merged(patches: Tensor) -> Tensor:
    """Half of the tokens, each added to the most similar one of the others, as by token merging (ToMe)."""
    one, other = patches[:, ::2], patches[:, 1::2]
    where = (one @ other.transpose(1, 2)).argmax(dim=-1)
    return other.scatter_add(1, where[..., None].expand_as(one), one)[:, :16]


PICKS: dict[str, Later] = {
    "pruned": lambda patches: gathered(patches, ranked(patches)[:, :16]),
    "pruned, in their order": lambda patches: gathered(patches, ranked(patches)[:, :16].sort(dim=1).values),
    "sorted": lambda patches: gathered(patches, ranked(patches)),
    "indexed": lambda patches: patches[torch.arange(len(patches))[:, None], ranked(patches)[:, :16]],
    "masked": masked,
    "merged": merged,
    "by a product": lambda patches: nn.functional.one_hot(ranked(patches), 64).to(patches.dtype) @ patches,
    "by numbers": lambda patches: torch.stack(
        [one[numbers] for one, numbers in zip(patches, ranked(patches)[:, :16].tolist(), strict=True)]
    ),
}
BACK: dict[str, Later] = {
    "sorted and back": lambda patches: gathered(gathered(patches, ranked(patches)), ranked(patches).argsort(dim=1)),
    "the strongest enhanced": lambda patches: patches.scatter_add(
        1, ranked(patches)[:, :4, None].expand(-1, -1, patches.shape[-1]), patches.new_ones(len(patches), 4, 24)
    ),
}


def network(later: Later) -> Reordered:
    return seeded(Reordered, lambda patches, extra: torch.cat([extra, patches], dim=1), _after_first(later)).eval()


def _after_first(later: Later) -> Later:
    return lambda tokens: torch.cat([tokens[:, :1], later(tokens[:, 1:])], dim=1)


@pytest.mark.parametrize("name", PICKS)
def test_a_layer_before_them_is_found_and_the_remedy_works(name: str) -> None:
    model, batch = network(PICKS[name]), images(2, side=64)
    found = pellucid.explain(model, batch, "hirescam", targets=[0, 1])
    assert found.layers == ("blocks.0",)
    assert found.attributions.shape == (2, 1, 8, 8)
    with pytest.raises(LayerError, match="'norm' was asked for; its positions are picked, sorted") as error:
        pellucid.explain(model, batch, layers=["norm"])
    assert "such as 'blocks.0'" in str(error.value)
    pellucid.explain(model, batch, layers=["blocks.0"])


@pytest.mark.parametrize("name", ["sorted", "pruned"])
@pytest.mark.parametrize("method", ["rollout", "gradient_rollout", "legrad"])
def test_their_attention_is_not_drawn(name: str, method: str) -> None:
    model, batch = network(PICKS[name]), images(1, side=64)
    with pytest.raises(NoAttentionError, match=r"picks, sorts, mirrors or mixes them.*such as gradcam"):
        pellucid.explain(model, batch, method, targets=0)


@pytest.mark.parametrize("kept", [15, 16, 33])
@pytest.mark.parametrize("method", ["rollout", "attention"])
def test_the_attention_of_pruned_tokens_is_not_drawn_whatever_their_number(kept: int, method: str) -> None:
    """Of a published network, of which the rollout of the first blocks was drawn as that of all."""

    class Pruned(timm.models.VisionTransformer):
        def forward(self, x: Tensor) -> Tensor:
            tokens = self.blocks[0](self._pos_embed(self.patch_embed(x)))
            patches = gathered(tokens[:, 1:], ranked(tokens[:, 1:])[:, :kept])
            return self.head(self.norm(self.blocks[1](torch.cat([tokens[:, :1], patches], dim=1)))[:, 0])

    sizes = {"img_size": 64, "patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 3, "num_classes": 3}
    model, batch = seeded(lambda: Pruned(**sizes)).eval(), images(1, side=64)
    with pytest.raises(NoAttentionError, match=r"picks, sorts, mirrors or mixes them.*such as gradcam"):
        pellucid.explain(model, batch, method, targets=0)
    assert pellucid.explain(model, batch, "gradcam", targets=0).attributions.shape == (1, 1, 8, 8)


@pytest.mark.parametrize("name", BACK)
def test_what_is_put_back_has_its_places(name: str) -> None:
    found = pellucid.explain(network(BACK[name]), images(1, side=64), "hirescam", targets=0)
    assert found.layers == ("norm",)


def test_regions_of_a_picture_that_are_exchanged() -> None:
    """Rows of a feature map, sorted by how bright they are."""

    class Sorting(TinyCNN):
        def forward(self, x: Tensor) -> Tensor:
            x = self.features[1](self.features[0](x))
            rows = x.mean(dim=(1, 3)).argsort(dim=1)
            x = x.gather(2, rows[:, None, :, None].expand_as(x))
            return self.fc(self.features[2:](x).flatten(2).mean(-1))

    model = seeded(Sorting).eval()
    found = pellucid.explain(model, images(1), "hirescam", targets=0)
    assert found.layers == ("features.1",)
    with pytest.raises(LayerError, match="picked, sorted"):
        pellucid.explain(model, images(1), layers=["features.4"])


class Twofold(nn.Module):
    """A second stage over what a change makes of the first one's map."""

    def __init__(self, change: Later, back: Later = lambda x: x) -> None:
        super().__init__()
        self.change, self.back = change, back
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU())
        self.stage, self.act, self.fc = nn.Conv2d(8, 8, 3, 1, 1), nn.ReLU(), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.act(self.back(self.stage(self.change(self.stem(x))))).mean((2, 3)))


def sampled(maps: Tensor, places: list[list[float]]) -> Tensor:
    """Maps sampled at the places that an affine matrix says, as in a spatial transformer."""
    grid = nn.functional.affine_grid(torch.tensor([places]).expand(len(maps), 2, 3), maps.shape, align_corners=False)
    return nn.functional.grid_sample(maps, grid, align_corners=False)


def boxed(maps: Tensor) -> Tensor:
    """A box of each map, as in the second stage of a detector."""
    box = torch.tensor([[6.0, 1.0, 14.0, 9.0]]) * maps.shape[-1] / 16
    return torchvision.ops.roi_align(maps, [box] * len(maps), (8, 8))


def unfolded(maps: Tensor) -> Tensor:
    """The patches of each map, in the opposite order."""
    patches = nn.functional.unfold(maps, 4, stride=4)
    return nn.functional.fold(patches[:, :, torch.arange(patches.shape[2] - 1, -1, -1)], maps.shape[2:], 4, stride=4)


def convolved(maps: Tensor) -> Tensor:
    """Maps that a convolution shifts, whose kernel has one value, at its corner."""
    kernel = torch.zeros(maps.shape[1], 1, 11, 11)
    kernel[:, :, 0, 0] = 1
    return nn.functional.conv2d(maps, kernel, padding=5, groups=maps.shape[1])


UNNAMED: list[Later] = [
    lambda x: torch.stack(x.unbind(2)[::-1], 2),
    lambda x: torch.stack([x.select(3, (column + 6) % 16) for column in range(16)], 3),
    lambda x: x.unflatten(2, (4, 4)).unflatten(4, (4, 4)).transpose(2, 4).flatten(4, 5).flatten(2, 3),
    lambda x: torch.fft.ifftshift(x, dim=(2, 3)),
    lambda x: torch.fft.ifft2(torch.fft.fft2(x).conj()).real,
    unfolded,
    convolved,
    lambda x: x.flatten(2) @ torch.eye(256)[:, torch.arange(256).roll(100)] @ torch.eye(256) + x.flatten(2) * 1e-3,
]
"""Moves by functions of which nothing tells that they may move positions."""
UNNAMED[-1] = lambda x, mix=UNNAMED[-1]: mix(x).view_as(x)


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x.flip(3),
        lambda x: torch.rot90(x, 1, (2, 3)),
        lambda x: x[:, :, :8, :8],
        lambda x: x.narrow(2, 8, 8).narrow(3, 0, 8),
        lambda x: x[:, :, torch.arange(15, -1, -1)],
        lambda x: x[:, :, 4:, 6:],
        lambda x: x.roll((5, 4), (2, 3)),
        lambda x: torch.roll(x, 40, dims=-2),
        lambda x: x.transpose(2, 3),
        lambda x: x.permute(0, 1, 3, 2).contiguous(),
        lambda x: torch.movedim(x, 3, 2).tanh(),
        lambda x: x.mT,
        lambda x: nn.functional.pad(x, (-6, 0, 0, -6)),
        lambda x: nn.functional.pad(x, pad=(12, 0, 0, 12)),
        lambda x: sampled(x, [[0.5, 0, 0.5], [0, 0.5, -0.5]]),
        lambda x: sampled(x, [[-1.0, 0, 0], [0, 1, 0]]),
        boxed,
        *UNNAMED,
    ],
)
def test_maps_that_are_mirrored_or_cropped_within_the_network(change: Later) -> None:
    """The published design of a branch over a part of a feature map, and its kind."""
    model, batch = seeded(Twofold, change).eval(), images(2, side=64)
    found = pellucid.explain(model, batch, "hirescam", targets=[0, 1])
    assert found.layers == ("stem.3",)
    for layer in ("stage", "act"):
        with pytest.raises(LayerError, match=r"mirrored or cropped|no spatial positions"):
            pellucid.explain(model, batch, layers=[layer])


@pytest.mark.parametrize(
    ("change", "back"),
    [
        (lambda x: x.flip(3), lambda x: x.flip(3)),
        (lambda x: x[:, :, ::2, ::2], lambda x: x),
        (lambda x: x[:, :, 1:-1, 1:-1], lambda x: x),
        (lambda x: x.roll(5, 3), lambda x: x.roll(-5, 3)),
        (lambda x: x.roll((1, -2), (2, 3)), lambda x: x),
        (lambda x: x.roll(4, 1), lambda x: x),
        (lambda x: x.transpose(2, 3), lambda x: x.mT),
        (lambda x: nn.functional.pad(x, (1, 2, 2, 1), mode="reflect"), lambda x: x),
    ],
)
def test_what_keeps_its_places(change: Later, back: Later) -> None:
    found = pellucid.explain(seeded(Twofold, change, back).eval(), images(1, side=64), "hirescam", targets=0)
    assert found.layers == ("act",)


@pytest.mark.parametrize(
    "change", [boxed, lambda x: x.roll((7, 7), (2, 3)), lambda x: x.transpose(2, 3), UNNAMED[0], UNNAMED[3]]
)
def test_the_maps_of_a_published_network(change: Later) -> None:
    class Changed(torchvision.models.ResNet):
        def forward(self, x: Tensor) -> Tensor:
            x = self.layer1(self.maxpool(self.relu(self.bn1(self.conv1(x)))))
            return self.fc(self.layer2(change(x)).mean((2, 3)).repeat(1, 4))

    model = seeded(lambda: Changed(torchvision.models.resnet.BasicBlock, [1, 1, 1, 1], num_classes=3)).eval()
    assert pellucid.explain(model, images(1, side=64), "hirescam", targets=0).layers == ("layer1",)
    with pytest.raises(LayerError, match="take a layer before that, such as 'layer1'"):
        pellucid.explain(model, images(1, side=64), layers=["layer2"])


@pytest.mark.parametrize("axis", [2, 3, 4])
def test_the_maps_of_a_volume(axis: int) -> None:
    class Moving(TinyCNN):
        def forward(self, x: Tensor) -> Tensor:
            x = torch.stack(self.features[:2](x).unbind(axis)[::-1], axis)
            return self.fc(self.features[2:](x).flatten(2).mean(-1))

    model, batch = seeded(Moving, 3).eval(), images(1, 3, side=32)
    found = pellucid.explain(model, batch, "hirescam", targets=0)
    assert found.layers == ("features.1",)
    with pytest.raises(LayerError, match="moved, mirrored or cropped"):
        pellucid.explain(model, batch, layers=["features.4"])


def test_layers_that_show_nothing_are_moved_as_those_before_them() -> None:
    """Of the four by four cells of the last layers no peak proves a move, and they follow those that are proven."""

    class Late(torchvision.models.ResNet):
        def forward(self, x: Tensor) -> Tensor:
            x = self.layer2(self.layer1(self.maxpool(self.relu(self.bn1(self.conv1(x))))))
            x = torch.stack(x.unbind(3)[::-1], 3)
            return self.fc(self.layer4(self.layer3(x)).mean((2, 3)))

    model = seeded(lambda: Late(torchvision.models.resnet.BasicBlock, [1, 1, 1, 1], num_classes=3)).eval()
    profile = profile_of(Session.of(model, Runtime()), Inputs.of(images(1, side=128)))
    assert profile.shapes["layer4"][2:] == (4, 4)
    assert {"layer3", "layer4"} <= profile.moved
    assert not {"layer1", "layer2"} & profile.moved
    assert pellucid.explain(model, images(1, side=128), targets=0).layers == ("layer2",)


@pytest.mark.parametrize("change", [lambda x: x.roll(5, 3), lambda x: x.flip(2), boxed])
def test_the_maps_of_slices_that_are_moved_are_refused(change: Later) -> None:
    """They cannot be measured, as the slices are entries of the batch."""

    class Slices(Twofold):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.flatten(0, 1)).unflatten(0, x.shape[:2]).mean(1)

    model, batch = seeded(Slices, change).eval(), torch.rand(1, 3, 3, 64, 64)
    assert pellucid.explain(model, batch, "hirescam", targets=0).layers == ("stem.3",)
    with pytest.raises(LayerError, match="mirrored or cropped"):
        pellucid.explain(model, batch, layers=["act"])


def test_ordinary_networks_cost_six_passes() -> None:
    calls = []
    model = network(lambda patches: patches * patches.softmax(dim=1).amax(dim=2, keepdim=True))
    model.norm.register_forward_hook(lambda _module, _inputs, output: calls.append(len(output)))
    profile = profile_of(Session.of(model, Runtime()), Inputs.of(images(1, side=64)))
    assert (sum(calls), profile.shuffled, profile.restored) == (1 + 6, frozenset(), frozenset())


HERE: list[Peak] = [(4, 4), (1, 1), (1, 6), (6, 1), (6, 6)]
ELSEWHERE: list[Peak] = [(4, 0), (1, 5), (1, 2), (6, 5), (6, 2)]
ANYWHERE: list[Peak] = [(7, 7), (7, 7), (1, 2), (6, 5), (7, 7)]
"""Two of five where those elsewhere are, and none here."""
LOST: list[Peak] = [(7, 7)] * 5


def moved(*layers: list[Peak]) -> str:
    """Which of some layers, by their peaks in both images, are moved: "1" or "0" each."""
    layout = Layout("channels_first", (8, 8))
    names = [f"layer{number}" for number in range(len(layers))]
    measured = {name: [{layout: own}] * 2 for name, own in zip(names, layers, strict=True)}
    found = {*moved_layers(dict.fromkeys(names, (layout,)), measured, centres_of(2))}
    return "".join(str(int(name in found)) for name in names)


def test_a_layer_is_moved_by_its_peaks_or_by_those_before_it() -> None:
    assert moved(HERE, ELSEWHERE, ELSEWHERE, HERE, ELSEWHERE) == "01101"
    assert moved(ANYWHERE, LOST, HERE) == "000", "nothing is proven"
    assert moved(HERE, ELSEWHERE, ANYWHERE, LOST) == "0100", "as within a block"
    assert moved(*[ELSEWHERE] * 6, ANYWHERE, LOST) == "11111110", "rather elsewhere than here"
    assert moved(*[ELSEWHERE] * 16, ANYWHERE, LOST) == "1" * 18, "so many are no part of a block"
    assert moved(*[ELSEWHERE] * 16, HERE, ANYWHERE, LOST) == "1" * 16 + "000", "put back"


def test_a_small_grid_must_follow_more_than_chance_gives() -> None:
    """Of 2 × 2 cells any is near the middle and one near each corner: by chance 8 of 10 follow too often, and 9 not."""
    large, small = Layout("channels_first", (8, 8)), Layout("channels_first", (2, 2))
    before = {f"layer{number}": large for number in range(16)}
    peaks: list[Peak] = [(0, 0), (0, 0), (0, 1), (1, 0), (1, 1)]

    def is_moved(*own: list[Peak]) -> bool:
        measured = {name: [{large: ELSEWHERE}] * 2 for name in before} | {"last": [{small: one} for one in own]}
        layouts = {name: (one,) for name, one in [*before.items(), ("last", small)]}
        return "last" in {*moved_layers(layouts, measured, centres_of(2))}

    wrong = [*peaks[:4], (0, 0)]
    assert (is_moved(peaks, peaks), is_moved(peaks, wrong), is_moved(wrong, wrong)) == (False, False, True)


def test_the_smallest_outputs_are_measured_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a network of masks the bottleneck is explained, and a fine decoder comes after it."""

    class Decoder(Twofold):
        def __init__(self) -> None:
            super().__init__(UNNAMED[0])
            self.up = nn.ConvTranspose2d(8, 4, 4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.up(self.act(self.stage(self.change(self.stem(x)))))

    profiles = []
    for most in (2**25, 15000):
        monkeypatch.setattr(fixed_order, "_MOST_OUTPUTS", most)
        session = Session.of(seeded(Decoder).eval(), Runtime())
        profiles.append(profile_of(session, Inputs.of(images(1, side=64))))
    assert [{"stage", "act"} <= profile.moved for profile in profiles] == [True, True]
    assert math.prod(profiles[1].shapes["up"]) > 15000


def test_no_pass_takes_more_images_than_a_batch() -> None:
    passes = []
    session = Session.of(seeded(Twofold, UNNAMED[0]).eval(), Runtime(batch_size=1))
    session.network.register_forward_pre_hook(lambda _module, given: passes.append(len(given[0])))
    assert profile_of(session, Inputs.of(images(1, side=64))).moved
    assert max(passes) == 1
