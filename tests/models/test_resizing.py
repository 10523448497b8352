"""Resizing and cropping: the same as torchvision's, and traceable back to the original."""

import pytest
import torch
import torchvision

from pellucid.core.geometry import Geometry
from pellucid.core.image import Image
from pellucid.models.preprocessing import Preprocessing
from tests.models.random_image import random_image


@pytest.mark.parametrize("size", [(221, 400), (219, 300), (100, 101), (7, 500)])
def test_padding_crop_is_torchvisions(size):
    image = random_image(3, *size)
    ours = Preprocessing(None, (224, 224))(image)
    assert torch.equal(ours.values, torchvision.transforms.functional.center_crop(image.pixels, [224, 224]))


@pytest.mark.parametrize("size", [(300, 401), (221, 119)])
def test_geometry_follows_the_pixels(size):
    """A smooth ramp of positions comes out where the geometry says."""
    rows, columns = torch.meshgrid(*(torch.arange(n) + 0.5 for n in size), indexing="ij")
    ramp = torch.stack([rows / size[0], columns / size[1], rows * 0])
    image = Image(ramp, ramp, Geometry.identity(size))
    ours = Preprocessing(180, (150, 160))(image)
    for place in [(20, 30), (75, 80), (130, 120)]:
        row, column = ours.geometry.source_point([p + 0.5 for p in place])
        seen = ours.pixels[:2, place[0], place[1]]
        assert seen.tolist() == pytest.approx([row / size[0], column / size[1]], abs=2e-3)


def test_nearest_and_exact_size():
    ours = Preprocessing((6, 9), interpolation="nearest")(random_image(1, 3, 3))
    assert torch.equal(ours.pixels[0, ::2, ::3], random_image(1, 3, 3).pixels[0])
