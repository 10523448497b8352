"""Masks on the grid of the network's input, against a loop over pixels."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from pellucid.core.geometry import Geometry
from pellucid.core.image import Image
from pellucid.evaluation.scoring.frame import in_frame, packed, spacing_in_frame, unpacked

GEOMETRIES = {
    "smaller": Geometry.identity((9, 14)).resize((5, 6)),
    "larger": Geometry.identity((9, 14)).resize((20, 21)),
    "cropped": Geometry.identity((9, 14)).resize((12, 16)).centre_crop((8, 8)),
    "padded": Geometry.identity((9, 14)).pad((3, 1), (2, 4)),
    "turned": Geometry.identity((9, 14)).turn((1, 0), (True, False)),
}


def replica(mask: Tensor, geometry: Geometry) -> Tensor:
    """Each pixel of the target has the value of the source pixel that holds its centre; outside there is nothing."""
    found = torch.zeros(geometry.target, dtype=torch.bool)
    for row in range(geometry.target[0]):
        for column in range(geometry.target[1]):
            y, x = geometry.source_point((row + 0.5, column + 0.5))
            place = math.floor(y + 1e-9), math.floor(x + 1e-9)
            if 0 <= place[0] < mask.shape[0] and 0 <= place[1] < mask.shape[1]:
                found[row, column] = mask[place]
    return found


@pytest.mark.parametrize("name", GEOMETRIES)
def test_each_pixel_has_the_value_of_the_source_pixel_that_holds_its_centre(name: str) -> None:
    geometry = GEOMETRIES[name]
    for seed in range(5):
        mask = torch.rand(geometry.source, generator=torch.Generator().manual_seed(seed)) < 0.4
        assert torch.equal(in_frame(mask, geometry), replica(mask, geometry))


def test_a_finding_smaller_than_a_pixel_has_the_pixel_of_its_centre() -> None:
    geometry = Geometry.identity((100, 100)).resize((10, 10))
    for place in ((0, 0), (37, 91), (99, 99)):
        mask = torch.zeros(100, 100, dtype=torch.bool)
        mask[place] = True
        found = in_frame(mask, geometry)
        assert found.nonzero().tolist() == [[place[0] // 10, place[1] // 10]]


def test_a_finding_that_is_cropped_away_is_lost() -> None:
    geometry = Geometry.identity((20, 20)).centre_crop((8, 8))
    mask = torch.zeros(20, 20, dtype=torch.bool)
    mask[:4, :4] = True
    assert not in_frame(mask, geometry).any()


def test_a_mask_of_a_volume_is_turned_with_it() -> None:
    geometry = Geometry.identity((3, 4, 5)).turn((2, 0, 1), (False, True, False))
    mask = torch.zeros(3, 4, 5, dtype=torch.bool)
    mask[0, 1, 2] = True
    assert in_frame(mask, geometry).nonzero().tolist() == [[2, 2, 1]]


def test_a_mask_is_packed_and_unpacked() -> None:
    mask = torch.rand(13, 7, generator=torch.Generator().manual_seed(0)) < 0.5
    assert torch.equal(unpacked(packed(mask), (13, 7)), mask)
    assert len(packed(torch.zeros(512, 512, dtype=torch.bool))) < 500


def test_the_spacing_follows_the_geometry() -> None:
    pixels = torch.zeros(1, 100, 50)
    original = Image(pixels, pixels, Geometry.identity((100, 50)), spacing=(0.2, 0.4))
    values = torch.zeros(1, 20, 25)
    prepared = Image(values, values, Geometry.identity((100, 50)).resize((20, 25)), source=original)
    assert spacing_in_frame(prepared) == pytest.approx((1.0, 0.8))
    turned = Image(values, values, Geometry.identity((100, 50)).turn((1, 0), (False, True)), source=original)
    assert spacing_in_frame(turned) == pytest.approx((0.4, 0.2))
    unknown = Image(pixels, pixels, Geometry.identity((100, 50)))
    assert spacing_in_frame(unknown) is None
