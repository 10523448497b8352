"""Figures that a map can be judged by, against replicas by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import pellucid
from pellucid.core.grade import TOP
from pellucid.core.ranking import highest
from pellucid.core.replacement import blurred
from pellucid.errors import OptionError
from tests.networks import TinyCNN, images, seeded

AREAS = (1, 2, 3, 4, 6, 8)


class Beside(nn.Module):
    """A part of each score goes by a layer, and a part past it."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 6, 4, 4), nn.ReLU())
        self.fc, self.direct = nn.Linear(6, 3), nn.Linear(3 * 32 * 32, 3)

    def above(self, cells: Tensor, x: Tensor) -> Tensor:
        return self.fc(cells.mean((2, 3))) + 0.1 * self.direct(x.flatten(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.above(self.features(x), x)


def naive_share(model: Beside, image: Tensor, target: int) -> float:
    """The formula, one pair at a time."""
    lost = moved = 0.0
    for areas in AREAS:
        blur = F.interpolate(F.interpolate(image, (areas, areas), mode="area"), (32, 32), mode="bilinear")
        held = model.above(model.features(blur), image)[0, target]
        reference, plain = model(blur)[0, target], model(image)[0, target]
        lost, moved = lost + float(held - reference) ** 2, moved + float(plain - reference) ** 2
    return max(0.0, 1 - lost / moved)


@torch.no_grad()
def test_the_share_of_each_image_and_class_is_its_own() -> None:
    model, batch = seeded(Beside).eval(), images(3)
    targets = torch.tensor([[0, 1], [2, 0], [1, 1]])
    found = pellucid.explain(model, batch, "hirescam", targets=targets, layers=["features"], checks=["share"])
    expected = [
        [naive_share(model, image[None], target) for target in row]
        for image, row in zip(batch, found.targets.tolist(), strict=True)
    ]
    torch.testing.assert_close(found.checks["share"], torch.tensor(expected), rtol=1e-3, atol=1e-4)
    assert (found.checks["share"] < 0.999).all()
    one = pellucid.explain(model, batch[1:2], "hirescam", targets=targets[1:2], layers=["features"], checks=["share"])
    torch.testing.assert_close(one.checks["share"], found.checks["share"][1:2], rtol=1e-4, atol=1e-5)


def test_a_layer_that_holds_all_has_one_and_where_nothing_moves_nothing_is_said() -> None:
    found = pellucid.explain(seeded(TinyCNN).eval(), images(2), targets="all", checks=["share"])
    torch.testing.assert_close(found.checks["share"], torch.ones(2, 4), rtol=0, atol=1e-5)
    flat = pellucid.explain(seeded(TinyCNN).eval(), torch.full((1, 3, 32, 32), 0.3), targets=0, checks=["share"])
    assert flat.checks["share"].isnan().all(), "a flat image is its own blur"


def test_the_passes_are_as_many_as_stated() -> None:
    def passes(*checks: str) -> int:
        seen: list[int] = []
        model = seeded(TinyCNN).eval()
        model.features[0].register_forward_hook(lambda _module, _inputs, output: seen.append(len(output)))
        pellucid.explain(model, images(1), targets=torch.tensor([[0, 1]]))  # what is found once for a model
        seen.clear()
        pellucid.explain(model, images(1), targets=torch.tensor([[0, 1]]), checks=checks)
        return sum(seen)

    plain = passes()
    assert passes("share") - plain == 13
    assert passes("blur_fall") - plain == 1 + 2
    assert passes("share", "blur_fall") - plain == 13 + 2, "the image's own pass serves both"


def naive_blur(image: Tensor, row: int, column: int) -> float:
    """A Gaussian blur at one pixel of an image (H, W), reflected at its edges."""
    reach, total, weights = round(len(image) / 4), 0.0, 0.0
    for down in range(-reach, reach + 1):
        for across in range(-reach, reach + 1):
            y, x = (
                abs(place) if place < side else 2 * (side - 1) - place
                for place, side in zip((row + down, column + across), image.shape, strict=True)
            )
            weight = math.exp(-(down**2 + across**2) / (2 * (len(image) / 8) ** 2))
            total, weights = total + weight * float(image[y, x]), weights + weight
    return total / weights


def test_the_highest_pixels() -> None:
    heat = torch.rand(2, 40, 40, generator=torch.Generator().manual_seed(0))
    heat[1] = 0.0
    heat[1, 5, 7] = 0.3  # fewer pixels above 0 than 2 % of them
    found = highest(heat, TOP, torch.Generator())
    assert found[0].sum() == 32
    assert heat[0][found[0]].min() > heat[0][~found[0]].max()
    assert found[1].nonzero().tolist() == [[5, 7]]


def test_the_fall_is_that_of_the_explained_score() -> None:
    weights = torch.linspace(1, 5, 1600).view(40, 40)

    class Weighted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cells = nn.Conv2d(1, 1, 1, bias=False)
            nn.init.ones_(self.cells.weight)

        def forward(self, x: Tensor) -> Tensor:
            return (self.cells(x)[:, 0] * weights).sum((1, 2))[:, None] * torch.tensor([0.0, 0.28, 1.0])

    batch = torch.rand(2, 1, 40, 40, generator=torch.Generator().manual_seed(0))
    found = pellucid.explain(
        Weighted(), batch, "saliency", targets=torch.tensor([[1, 2], [0, 1]]), checks=["blur_fall"]
    )
    for image in range(2):
        for column, target in enumerate(found.targets[image].tolist()):
            chosen = highest(found.heatmaps[image, column][None], TOP, torch.Generator())[0].nonzero().tolist()
            fall = sum(
                float(weights[y, x]) * (float(batch[image, 0, y, x]) - naive_blur(batch[image, 0], y, x))
                for y, x in chosen
            )
            factor = (0.0, 0.28, 1.0)[target]
            assert float(found.checks["blur_fall"][image, column]) == pytest.approx(factor * fall, rel=1e-3, abs=1e-3)


def test_volumes_and_callables() -> None:
    model, batch = seeded(TinyCNN, 3).eval(), images(2, rank=3, side=16)
    found = pellucid.explain(
        model, batch, targets=lambda logits: logits[:, 0] - logits[:, 1], checks=["share", "blur_fall"]
    )
    assert {name: tuple(values.shape) for name, values in found.checks.items()} == {
        "share": (2, 1),
        "blur_fall": (2, 1),
    }
    assert blurred(batch).std() < batch.std() / 5
    assert found[1].checks["share"].shape == (1, 1)


@pytest.mark.parametrize(
    ("method", "checks", "message"),
    [
        ("gradcam", ["worth"], "check 'worth' was asked for; there are share, blur_fall, grade"),
        ("saliency", ["share"], "method 'saliency' looks at no layer: take blur_fall, grade"),
        ("gradcam", "share", "checks must be a list of names"),
    ],
)
def test_what_cannot_be_checked(method: str, checks: list[str], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        pellucid.explain(seeded(TinyCNN), images(1), method, checks=checks)
