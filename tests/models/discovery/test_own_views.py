"""Networks that crop, mirror or bend an image by what it shows: what they see is followed for each batch."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import pellucid
from pellucid.errors import LayerError
from tests.networks import seeded

SIDE = 64
Change = Callable[[Tensor], Tensor]


class Changing(nn.Module):
    """A network with positive weights that changes its image first, so that its map has its peak at the spot."""

    def __init__(self, change: Change) -> None:
        super().__init__()
        self.change = change
        self.features = nn.Sequential(nn.Conv2d(1, 4, 4, 4), nn.ReLU())
        self.fc = nn.Linear(4, 2)
        for parameter in self.parameters():
            parameter.data.abs_()
        self.seen: list[int] = []
        self.ended: list[int] = []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(len(images))
        scores = self.fc(self.features(self.change(images)).mean((2, 3)))
        self.ended.append(len(images))
        return scores


def network(change: Change) -> nn.Module:
    return seeded(Changing, change).eval()


def scene(ground: float = 0.0) -> Tensor:
    """A textured body beside the middle on a ground, with a bright spot at (48, 12)."""
    image = torch.full((1, 1, SIDE, SIDE), ground)
    image[..., 20:60, 4:40] = 0.4 + 0.2 * torch.rand(40, 36, generator=torch.Generator().manual_seed(0))
    image[..., 44:52, 8:16] = 1
    return image


def peak(found: pellucid.Explanation, number: int = 0) -> tuple[int, int]:
    return divmod(int(found.heatmaps[number, 0].argmax()), SIDE)


def resized(part: Tensor) -> Tensor:
    return F.interpolate(part, (SIDE, SIDE), mode="bilinear")


def cropped(images: Tensor, above: float = 0.0) -> Tensor:
    """The part with what is brighter in the first image."""
    at = (images[0, 0] > above).nonzero()
    (top, left), (bottom, right) = at.amin(0).tolist(), at.amax(0).tolist()
    return resized(images[..., top : bottom + 1, left : right + 1])


def by_monai(images: Tensor) -> Tensor:
    from monai.transforms import CropForeground

    return torch.cat([resized(CropForeground()(one)[None]) for one in images])


def without_black_columns(images: Tensor) -> Tensor:
    return resized(images[..., images[0, 0].amax(0) > 0])


def without_a_black_border(images: Tensor) -> Tensor:
    return resized(images[..., 8:-8, 8:-8]) if float(images[..., :8, :].abs().max()) == 0 else images


def brighter_left(images: Tensor) -> Tensor:
    return images.flip(3) if images[..., : SIDE // 2].mean() < images[..., SIDE // 2 :].mean() else images


def centred(images: Tensor) -> Tensor:
    """Rolled so that the mean position of what is bright lies in the middle."""
    bright = (images[0, 0] > 0.9).nonzero().float().mean(0).round().int().tolist()
    return images.roll([SIDE // 2 - one for one in bright], (2, 3))


def bent(images: Tensor) -> Tensor:
    """Moved by a grid that depends on the image's brightness, as a spatial transformer."""
    theta = torch.eye(2, 3, dtype=images.dtype).repeat(len(images), 1, 1)
    theta[:, :, 2] = images.mean((2, 3)).expand(-1, 2) - 0.5
    return F.grid_sample(images, F.affine_grid(theta, list(images.shape), align_corners=False), align_corners=False)


def hounsfield(images: Tensor) -> Tensor:
    return 2000 * images - 1000


CHANGES: dict[str, tuple[Change, Tensor]] = {
    "foreground": (cropped, scene()),
    "foreground, CT": (lambda images: cropped(images, -500), hounsfield(scene())),
    "MONAI's CropForeground": (by_monai, scene()),
    "black columns": (without_black_columns, scene()),
    "black border": (without_a_black_border, scene()),
    "mirrored if bright": (lambda images: images.flip(3) if images.mean() > 0.5 else images, 1 + scene()),
    "mirrored by number": (lambda images: images.flip(2) if images.max().item() > 1.5 else images, 1 + scene()),
    "centred": (centred, scene()),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_follows_the_image_is_refused(name: str) -> None:
    change, image = CHANGES[name]
    model = network(change)
    with pytest.raises(pellucid.PellucidError, match="or use a method that") as told:
        pellucid.explain(model, image, "gradcam", 0, head="softmax")
    assert "\n" not in str(told.value)
    found = pellucid.explain(
        model, image, pellucid.methods.Occlusion(window=8, stride=4), 0, head="softmax"
    )  # the remedy
    row, column = peak(found)
    assert 42 <= row <= 54
    assert 6 <= column <= 18


def test_it_is_told_for_the_image_that_is_seen_otherwise() -> None:
    model = network(lambda images: torch.stack([one.flip(2) if one.mean() > 0.5 else one for one in images]))
    both = torch.cat([scene(), 1 + scene()])
    pellucid.explain(model, both[:1], "gradcam", 0, head="softmax")
    with pytest.raises(
        LayerError, match=r"of image 2 of 2 the network sees axis 1 from 64 to -?0, where .* from 0 to 64"
    ):
        pellucid.explain(model, both, "gradcam", 0, head="softmax")


def test_the_first_image_does_not_decide_for_the_others() -> None:
    model = network(brighter_left)
    found = pellucid.explain(model, scene(), "hirescam", 0, head="softmax")
    assert abs(peak(found)[1] - 12) <= 4
    with pytest.raises(LayerError, match="of image 1 of 1 the network sees axis 1 from 64 to"):
        pellucid.explain(model, scene().flip(3), "hirescam", 0, head="softmax")


def test_a_bent_image_is_refused() -> None:
    with pytest.raises(pellucid.PellucidError, match=r"crop or mirror images|projected, turned"):
        pellucid.explain(network(bent), scene(), "gradcam", 0, head="softmax")


def _quantiles(images: Tensor) -> Tensor:
    low, high = (torch.quantile(images.flatten(1), share, dim=1).view(-1, 1, 1, 1) for share in (0.02, 0.98))
    return ((images - low) / (high - low)).clamp(0, 1)


def _range(images: Tensor) -> Tensor:
    low, high = images.amin((1, 2, 3), keepdim=True), images.amax((1, 2, 3), keepdim=True)
    return (images - low) / (high - low)


ALONE = pellucid.Runtime(batch_size=1)
"""Else three of these are warned of: they normalise by the whole batch."""
NORMALISED: dict[str, Change] = {
    "mean": lambda images: (images - images.mean()) / images.std(),
    "brightest": lambda images: images / images.amax(),
    "range": _range,
    "range of the batch": lambda images: (images - images.min()) / (images.max() - images.min()),
    "percentiles": _quantiles,
    "if": lambda images: images / 255 if images.max() > 1.5 else images,
    "where": lambda images: torch.where(images > 0.5, images, 0.5 * images),
    "mask": lambda images: images * (images > 0.1),
}


@pytest.mark.parametrize("name", NORMALISED)
@pytest.mark.parametrize("mirrored", [False, True])
def test_normalising_is_no_other_view(name: str, mirrored: bool) -> None:
    change = NORMALISED[name]
    model = network((lambda images: change(images).flip(3)) if mirrored else change)
    for image in (scene(0.05), scene()):
        row, column = peak(pellucid.explain(model, image, "hirescam", 0, head="softmax", runtime=ALONE))
        assert abs(row - 48) <= 4
        assert abs(column - 12) <= 4


def test_joined_mirror_images_are_no_place() -> None:
    """The mirrored one may be the fainter."""
    for weight in (1.0, 0.6, 0.4):
        model = network(lambda images, weight=weight: images + weight * images.flip(3))
        with pytest.raises(pellucid.PellucidError, match="positions are no fixed places"):
            pellucid.explain(model, scene(), "gradcam", 0, head="softmax")


def test_a_network_that_does_not_decide_takes_no_more_passes() -> None:
    plain, deciding = network(lambda images: 2 * images), network(lambda images: images + (images > 2))
    for model in (plain, deciding):
        pellucid.explain(model, scene(), "gradcam", 0, head="softmax")
        model.seen.clear()
        model.ended.clear()
        pellucid.explain(model, torch.cat([scene()] * 3), "gradcam", 0, head="softmax")
    assert (plain.seen, deciding.seen) == ([3], [3, 3])
    assert deciding.ended == [3]  # what is compared ends at the last look


def test_a_method_without_layers_is_not_concerned() -> None:
    change, image = CHANGES["foreground"]
    row, column = peak(pellucid.explain(network(change), image, "input_x_gradient", 0, head="softmax"))
    assert 44 <= row < 52
    assert 8 <= column < 16
