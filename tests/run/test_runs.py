"""Modules that run several times, sequences of images, and networks that crop or mirror: each map by hand, to 1e-6."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import pellucid
from pellucid.core.geometry import Geometry
from pellucid.core.shown import shown_maps
from pellucid.errors import ImageIndexError, LayerError, OptionError, ShapeError
from pellucid.methods.occlusion import Occlusion
from tests.networks import seeded

FORMULAS = ("hirescam", "gradcam")


def by_hand(method: str, activations: Tensor, gradients: Tensor) -> Tensor:
    """HiResCAM, or Grad-CAM with its ReLU, of (B, C, h, w): (B, h, w)."""
    weights = gradients if method == "hirescam" else gradients.mean(dim=(2, 3), keepdim=True)
    maps = (weights * activations).sum(dim=1)
    return maps if method == "hirescam" else maps.relu()


def enlarged(maps: Tensor, size: Sequence[int]) -> Tensor:
    return F.interpolate(maps[:, None], tuple(size), mode="bilinear", align_corners=False)[:, 0]


def backbone(channels: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, 6, 3, 2, 1), nn.Tanh(), nn.Conv2d(6, 8, 3, 2, 1), nn.Tanh())


class Backboned(nn.Module):
    """A network whose backbone's outputs are kept, with their gradients."""

    def __init__(self, channels: int = 1) -> None:
        super().__init__()
        self.backbone = backbone(channels)
        self.fc = nn.Linear(8, 3)
        self.kept: list[Tensor] | None = None

    def features(self, x: Tensor) -> Tensor:
        output = self.backbone(x)
        if self.kept is not None:
            output.retain_grad()
            self.kept.append(output)
        return output

    def read(self, maps: Tensor) -> Tensor:
        return torch.tanh(maps).mean((2, 3))


class TwoViews(Backboned):
    """Two inputs through one backbone."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(16, 3)

    def forward(self, cc: Tensor, mlo: Tensor) -> Tensor:
        return self.fc(torch.cat([self.read(self.features(cc)), self.read(self.features(mlo))], dim=1))


WEIGHTS = torch.tensor([0.1, 0.2, 0.3, 0.4])


class Flips(Backboned):
    """A weighted mean of the logits of the image and of its mirror images."""

    def forward(self, x: Tensor) -> Tensor:
        views = [x, x.flip(3), x.flip(2), x.transpose(2, 3)]
        scores = [self.fc(self.read(self.features(view))) for view in views]
        return torch.einsum("v,vbk->bk", WEIGHTS, torch.stack(scores))


class FlipsAsBatch(Backboned):
    """The same for two images in one batch; ``by_entry``: first all images, then all mirror images."""

    def __init__(self, by_entry: bool) -> None:
        super().__init__()
        self.by_entry = by_entry

    def forward(self, x: Tensor) -> Tensor:
        both = torch.stack([x, x.flip(3)], dim=0 if self.by_entry else 1)
        scores = self.fc(self.read(self.features(both.flatten(0, 1))))
        return scores.unflatten(0, (2, -1) if self.by_entry else (-1, 2)).mean(0 if self.by_entry else 1)


class Slices(Backboned):
    """Slices (B, S, H, W) through one backbone, and an LSTM over them."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(8, 5, batch_first=True)
        self.fc = nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        features = self.read(self.features(x.flatten(0, 1)[:, None]))
        return self.fc(self.lstm(features.unflatten(0, x.shape[:2]))[0].mean(1))


class Bag(Backboned):
    """A set of images (B, S, C, H, W), weighted by attention."""

    def __init__(self) -> None:
        super().__init__(3)
        self.weigh = nn.Linear(8, 1)

    def forward(self, x: Tensor) -> Tensor:
        features = self.read(self.features(x.flatten(0, 1))).unflatten(0, x.shape[:2])
        return self.fc((self.weigh(features).softmax(1) * features).sum(1))


class Loop(Backboned):
    """A set of images (B, S, C, H, W), one run of the backbone each, in reverse."""

    def __init__(self) -> None:
        super().__init__(3)

    def forward(self, x: Tensor) -> Tensor:
        runs = [self.read(self.features(x[:, number])) for number in reversed(range(x.shape[1]))]
        return self.fc(torch.stack(runs, 1).amax(1))


class ByMember(Backboned):
    """A set of images (B, S, C, H, W) whose first images come first in the batch."""

    def __init__(self) -> None:
        super().__init__(3)

    def forward(self, x: Tensor) -> Tensor:
        features = self.read(self.features(x.transpose(0, 1).flatten(0, 1)))
        return self.fc(features.unflatten(0, (x.shape[1], -1)).amax(0))


class Planes(Backboned):
    """A volume (B, 1, D, H, W), slice by slice."""

    def forward(self, x: Tensor) -> Tensor:
        features = self.read(self.features(x.movedim(2, 1).flatten(0, 1)))
        return self.fc(features.unflatten(0, (len(x), -1)).amax(1))


def of_pass(model: Backboned, images: object, target: int) -> list[tuple[Tensor, Tensor]]:
    """The backbone's outputs of each run and their gradients, by autograd alone."""
    model.kept = []
    scores = model(**images) if isinstance(images, dict) else model(images)
    scores[:, target].sum().backward()
    found = [(one.detach(), one.grad) for one in model.kept if one.grad is not None]
    model.kept = None
    model.zero_grad()
    return found


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6 * float(expected.abs().max()))


@pytest.mark.parametrize("method", FORMULAS)
@pytest.mark.parametrize("names", [("cc", "mlo"), ("mlo", "cc")])
def test_of_two_views_the_run_of_the_explained_one(method: str, names: tuple[str, str]) -> None:
    model = seeded(TwoViews)
    images = {name: torch.randn(2, 1, 32, 24) for name in names}
    runs = of_pass(model, images, 1)
    expected = by_hand(method, *runs[("cc", "mlo").index(names[0])])
    found = pellucid.explain(model, images, method, [1, 1], layers=["backbone"])
    close(found.attributions[:, 0], expected)
    assert found.layers == ("backbone",)
    without = pellucid.explain(model, images, method, [1, 1])
    assert without.layers == ("backbone.3",)  # the output of the backbone itself contains the first convolution
    close(without.attributions[:, 0], expected)


@pytest.mark.parametrize("method", FORMULAS)
def test_mirrored_runs_are_mirrored_back(method: str) -> None:
    model, images = seeded(Flips), torch.randn(2, 1, 32, 24)
    runs = [enlarged(by_hand(method, *run), (32, 24)) for run in of_pass(model, images, 0)[:3]]
    turned = enlarged(by_hand(method, *of_pass(model, images, 0)[3]), (24, 32))
    expected = runs[0] + runs[1].flip(2) + runs[2].flip(1) + turned.transpose(1, 2)
    close(pellucid.explain(model, images, method, [0, 0]).attributions[:, 0], expected)
    close(pellucid.explain(model, images, method, [0, 0], layers=["backbone#2"]).attributions[:, 0], runs[1].flip(2))


@pytest.mark.parametrize("method", FORMULAS)
@pytest.mark.parametrize("by_entry", [True, False])
def test_mirrored_entries_are_mirrored_back(method: str, by_entry: bool) -> None:
    model, images = seeded(lambda: FlipsAsBatch(by_entry)), torch.randn(3, 1, 32, 24)
    ((activations, gradients),) = of_pass(model, images, 2)
    maps = enlarged(by_hand(method, activations, gradients), (32, 24))
    own, mirrored = maps.unflatten(0, (2, -1) if by_entry else (-1, 2)).unbind(0 if by_entry else 1)
    close(pellucid.explain(model, images, method, [2] * 3).attributions[:, 0], own + mirrored.flip(2))


@pytest.mark.parametrize("method", FORMULAS)
@pytest.mark.parametrize(
    ("kind", "shape", "entries"),
    [
        (Slices, (2, 5, 32, 24), lambda maps: maps.unflatten(0, (2, 5))),
        (Bag, (2, 4, 3, 32, 24), lambda maps: maps.unflatten(0, (2, 4))),
        (ByMember, (2, 4, 3, 32, 24), lambda maps: maps.unflatten(0, (4, 2)).transpose(0, 1)),
        (Planes, (2, 1, 5, 32, 24), lambda maps: maps.unflatten(0, (2, 5))),
    ],
)
def test_each_image_of_a_sequence_has_a_map(
    method: str, kind: type[Backboned], shape: tuple[int, ...], entries: Callable[[Tensor], Tensor]
) -> None:
    model, images = seeded(kind), torch.randn(*shape)
    ((activations, gradients),) = of_pass(model, images, 1)
    found = pellucid.explain(model, images, method, [1, 1])
    close(found.attributions[:, 0], entries(by_hand(method, activations, gradients)))
    count = shape[2] if kind is Planes else shape[1]
    assert found.heatmaps.shape == (2, 1, count, 32, 24)
    # One scale for all images of a sequence, so that they can be compared.
    large = F.interpolate(found.attributions.clamp(min=0), (count, 32, 24), mode="trilinear")
    close(found.heatmaps[:, 0], (large / large.amax(dim=(2, 3, 4), keepdim=True))[:, 0] if large.amin() == 0 else large)
    assert found.provenance["input"] == ("images" if kind is Planes else "sequence of images")


@pytest.mark.parametrize("method", FORMULAS)
def test_each_run_of_a_loop_is_an_image(method: str) -> None:
    model, images = seeded(Loop), torch.randn(2, 4, 3, 32, 24)
    runs = of_pass(model, images, 1)
    expected = torch.stack([by_hand(method, *run) for run in reversed(runs)], dim=1)
    close(pellucid.explain(model, images, method, [1, 1]).attributions[:, 0], expected)


def test_an_image_of_a_sequence_has_the_scale_of_the_sequence() -> None:
    model, images = seeded(Bag), torch.randn(3, 4, 3, 32, 24)
    found = pellucid.explain(model, images, "hirescam", [1, 1, 1])
    second = found[1:].member(-3)
    assert second.heatmaps.shape == (2, 1, 32, 24)
    assert torch.equal(second.heatmaps, found.heatmaps[1:, :, 1])
    assert torch.equal(second.attributions, found.attributions[1:, :, 1])
    assert torch.equal(second.by_layer["backbone.3"].heatmaps, second.heatmaps)
    assert (second.of_sequence, found.of_sequence, second.is_sequence) == ("image 2 of 4", None, False)
    signed = shown_maps(second, signed=True)
    most = found.attributions[1:].abs().amax(dim=(2, 3, 4))
    expected = F.interpolate(found.attributions[1:, :, 1], (32, 24), mode="bilinear") / most[..., None, None]
    torch.testing.assert_close(signed, expected)
    with pytest.raises(ImageIndexError, match="image 4 was asked for"):
        found.member(4)
    with pytest.raises(OptionError, match=r"take explanation\[i\]"):
        second.member(0)
    with pytest.raises(ShapeError, match=r"take explanation\.member"):
        pellucid.overlay(found, images[:, 0])
    images = [pellucid.Image(one, one, Geometry.identity((32, 24))) for one in torch.rand(3, 3, 32, 24)]
    with pytest.raises(ShapeError, match=r"write explanation\.member"):
        pellucid.write(found, images, "results")


def test_a_notebook_shows_each_image_of_a_sequence() -> None:
    text = pellucid.explain(seeded(Bag), torch.randn(1, 4, 3, 32, 24), "hirescam", 1)._repr_html_()
    assert text is not None
    assert text.count("<img") == 4
    assert [f"image {number} of 4" in text for number in range(1, 6)] == [True] * 4 + [False]


def test_score_cam_masks_one_image_of_a_sequence_and_leaves_the_others() -> None:
    model, images = seeded(Bag), torch.rand(1, 3, 3, 16, 16)
    with torch.no_grad():
        model.fc.weight.mul_(50)  # so that the weights of the channels differ
    found = pellucid.explain(model, images, "scorecam", 1).attributions[0, 0]
    with torch.no_grad():
        outputs = model.backbone(images[0])
        for number, activations in enumerate(outputs):
            scores = []
            for channel in activations:
                mask = F.interpolate(channel[None, None], (16, 16), mode="bilinear")[0, 0]
                masked = images.clone()
                masked[:, number] *= (mask - mask.min()) / (mask.max() - mask.min())
                scores.append(model(masked)[0, 1])
            weights = torch.stack(scores).softmax(0)
            expected = torch.einsum("c,chw->hw", weights, activations.relu())
            torch.testing.assert_close(found[number], expected, rtol=1e-4, atol=1e-7)


def test_score_cam_masks_a_mirrored_run_where_it_sees_the_image() -> None:
    model, images = seeded(Flips), torch.rand(1, 1, 16, 12)
    with torch.no_grad():
        model.fc.weight.mul_(50)
    found = pellucid.explain(model, images, "scorecam", 1, layers=["backbone#2"]).attributions[0, 0]
    with torch.no_grad():
        activations = model.backbone(images.flip(3))[0]
        scores = []
        for channel in activations:
            mask = F.interpolate(channel[None, None], (16, 12), mode="bilinear")[0, 0].flip(1)
            scores.append(model(images * (mask - mask.min()) / (mask.max() - mask.min()))[0, 1])
        expected = torch.einsum("c,chw->hw", torch.stack(scores).softmax(0), activations.relu())
    large = F.interpolate(expected[None, None], (16, 12), mode="bilinear")[0, 0].flip(1)
    torch.testing.assert_close(found, large, rtol=1e-4, atol=1e-7)


def test_ablation_cam_takes_channels_from_one_run() -> None:
    model, images = seeded(Flips), torch.rand(2, 1, 16, 12)
    found = pellucid.explain(model, images, "ablationcam", [1, 1], layers=["backbone#3"]).attributions[:, 0]
    with torch.no_grad():
        views = [images, images.flip(3), images.flip(2), images.transpose(2, 3)]
        whole = model(images)[:, 1]
        activations = model.backbone(views[2])
        scores = torch.stack([model.fc(model.read(model.backbone(view))) for view in views])
        weights = []
        for channel in range(activations.shape[1]):
            changed = activations.clone()
            changed[:, channel] = 0
            scores[2] = model.fc(model.read(changed))
            weights.append(whole - torch.einsum("v,vbk->bk", WEIGHTS, scores)[:, 1])
        expected = torch.einsum("cb,bchw->bhw", torch.stack(weights), activations)
    torch.testing.assert_close(found, enlarged(expected.relu(), (16, 12)).flip(1), rtol=1e-3, atol=1e-6)


def test_occlusion_covers_one_image_of_a_sequence() -> None:
    model, images = seeded(Bag), torch.rand(1, 2, 3, 8, 8)
    found = pellucid.explain(model, images, Occlusion(window=4, stride=4), 1).attributions[0, 0]
    with torch.no_grad():
        for number in range(2):
            for row in (0, 4):
                for column in (0, 4):
                    covered = images.clone()
                    covered[:, number, :, row : row + 4, column : column + 4] = 0
                    drop = (model(images) - model(covered))[0, 1]
                    part = found[number, row : row + 4, column : column + 4]
                    torch.testing.assert_close(part, drop.expand(4, 4), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("method", "message"),
    [("aug_smooth", "mirrored maps would not fit: use gradcam alone"), ("fullgrad", "use input_x_gradient")],
)
def test_methods_that_cannot_follow_views_are_refused_with_a_remedy(method: str, message: str) -> None:
    model, images = seeded(Flips), torch.rand(1, 1, 32, 24)
    with pytest.raises(pellucid.PellucidError, match=message):
        pellucid.explain(model, images, method, 0)
    remedy = message.split("use ")[1].split()[0]
    assert pellucid.explain(model, images, remedy, 0).heatmaps.shape == (1, 1, 32, 24)


class Again(Backboned):
    """A block that is passed three times."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.features(x)
        for _ in range(3):
            maps = torch.tanh(self.block(maps))
        return self.fc(maps.mean((2, 3)))


def test_of_a_block_that_runs_again_the_last_run_counts() -> None:
    model, images = seeded(Again), torch.rand(1, 1, 16, 12)
    with pytest.raises(LayerError, match="its last run counts: take 'block'"):
        pellucid.explain(model, images, layers=["block#2"])
    found = pellucid.explain(model, images, "hirescam", 0, layers=["block"])
    kept: list[Tensor] = []
    handle = model.block.register_forward_hook(lambda _m, _i, output: kept.append(output))
    score = model(images)[0, 0]
    handle.remove()
    (gradient,) = torch.autograd.grad(score, kept[-1])
    close(found.attributions[:, 0], by_hand("hirescam", kept[-1], gradient).detach())


def test_a_layer_beside_its_own_run_is_an_error() -> None:
    with pytest.raises(LayerError, match="both hold 'backbone#2': give one"):
        pellucid.explain(seeded(Flips), torch.rand(1, 1, 16, 12), layers=["backbone", "backbone#2"], fuse="sum")


def test_members_that_a_mask_chooses_are_refused() -> None:
    class Masked(Backboned):
        def forward(self, x: Tensor, mask: Tensor) -> Tensor:
            features = self.read(self.features(x.flatten(0, 1)[mask.flatten()]))
            return self.fc(features.mean(0, keepdim=True).expand(len(x), -1))

    mask = torch.tensor([[True, True, False, True]])
    with pytest.raises(pellucid.PellucidError, match=r"no fixed places|no spatial"):
        pellucid.explain(
            seeded(Masked),
            {"x": torch.rand(1, 4, 1, 16, 12), "mask": mask},
            layers=["backbone"],
            runtime=pellucid.Runtime(batch_size=1),  # it takes the mean of all
        )


def test_a_run_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(LayerError, match="'backbone#9' was asked for; the layer runs 4 times"):
        pellucid.explain(seeded(Flips), torch.rand(1, 1, 32, 24), layers=["backbone#9"])


@pytest.mark.parametrize("size", [1, 2])
def test_smaller_batches_give_the_same_maps(size: int) -> None:
    for kind, shape in ((Flips, (3, 1, 16, 12)), (ByMember, (3, 2, 3, 16, 12))):
        model, images = seeded(kind), torch.rand(*shape)
        whole = pellucid.explain(model, images, "hirescam", [0, 1, 2])
        parts = pellucid.explain(model, images, "hirescam", [0, 1, 2], runtime=pellucid.Runtime(batch_size=size))
        torch.testing.assert_close(whole.attributions, parts.attributions, rtol=1e-5, atol=1e-7)
