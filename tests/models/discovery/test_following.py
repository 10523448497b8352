"""Where positions of a frame lie in the images: naive replicas of the rules, and changes whose places are known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.models.discovery.following import followed

SIDE = 48


def images() -> Tensor:
    return torch.rand(2, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0)).requires_grad_()


def along(frame: Tensor, given: Tensor, axis: int) -> tuple[list[float], list[list[float]]]:
    """The positions along an axis, and where they lie in the first image."""
    places, where = followed(given, frame, axis, None)
    assert where.shape == (len(places), 2, 1, 2)
    return places, where[:, 0, 0].tolist()


@pytest.mark.parametrize("axis", [0, 1])
def test_an_image_lies_where_it_is(axis: int) -> None:
    given = images()
    for place, point in zip(*along(2 * given + 1, given, axis), strict=True):
        assert point[axis] == pytest.approx(place)


def test_an_enlarged_crop_lies_in_the_image() -> None:
    given = images()
    frame = F.interpolate(given[..., 8:32, 4:28], scale_factor=2, mode="bilinear")
    for axis, start in enumerate((8, 4)):
        for place, point in zip(*along(frame, given, axis), strict=True):
            assert point[axis] == pytest.approx(start + place / 2, abs=1)


def test_margins_are_nowhere_and_joined_mirror_images_far_apart() -> None:
    given = images()
    frame = F.pad(given, (24, 24, 0, 0))
    _, where = along(frame, given, 1)
    assert [math.isnan(point[1]) for point in where] == [True] * 3 + [False] * 6 + [True] * 3
    _, where = along(given + 0.7 * given.flip(3), given, 1)
    assert math.isinf(where[0][1])
    assert math.isinf(where[-1][1])


def test_what_all_are_divided_by_is_no_place() -> None:
    given = images()
    low, high = given.amin((1, 2, 3), keepdim=True), given.amax((1, 2, 3), keepdim=True)
    for place, point in zip(*along((given - low) / (high - low), given, 0), strict=True):
        assert point[0] == pytest.approx(place)
