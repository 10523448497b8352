"""Views of volumes: slices, scale and orientation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from pellucid.core.geometry import Geometry
from pellucid.core.image import Image
from pellucid.core.style import Style
from pellucid.render import drawing, montage, orthogonal
from pellucid.render.volume import Drawing

OPAQUE = Style(alpha=1.0, colormap="gray")


def volume(heat_at: tuple[int, int, int], size: tuple[int, int, int] = (10, 40, 20)) -> Drawing:
    pixels, heat = torch.zeros(1, *size), torch.zeros(size)
    heat[heat_at] = 1
    return Drawing(pixels, heat, torch.ones(size, dtype=torch.bool), (2.0, 0.5, 1.0), style=OPAQUE)


def brightest(image: np.ndarray) -> tuple[float, float]:
    """The position of the bright pixels, as shares of height and width."""
    rows, columns = np.nonzero(image.max(axis=-1) > 0.5 * image.max())
    return (rows.mean() + 0.5) / image.shape[0], (columns.mean() + 0.5) / image.shape[1]


def test_planes_have_square_pixels() -> None:
    drawn = volume((5, 10, 15))
    assert drawn.plane(0, 5, 200).size == (200, 200)  # 40 rows of 0.5 mm, 20 columns of 1
    assert drawn.plane(1, 10, 200).size == (200, 200)  # 10 slices of 2 mm, 20 columns
    assert drawn.plane(2, 15, 200).size == (200, 200)


def test_planes_show_the_peak_at_its_position() -> None:
    drawn = volume((2, 30, 15))
    for axis, shares in ((0, (30.5 / 40, 15.5 / 20)), (1, (2.5 / 10, 15.5 / 20)), (2, (2.5 / 10, 30.5 / 40))):
        found = brightest(np.asarray(drawn.plane(axis, (2, 30, 15)[axis], 400)))
        assert np.allclose(found, shares, atol=0.03)


def test_axes_are_mirrored_by_the_radiological_convention() -> None:
    size = (10, 40, 20)
    pixels, heat = torch.zeros(1, *size), torch.zeros(size)
    heat[2, 30, 15] = 1
    # Columns go to the right, rows to the front, slices to the head: all are turned.
    image = Image(pixels, pixels, Geometry.identity(size), spacing=(1, 1, 1), affine=torch.eye(4, dtype=torch.float64))
    drawn = drawing(image, heat, OPAQUE)
    assert drawn.flipped == (True, True, True)
    found = brightest(np.asarray(drawn.plane(0, 2, 400)))
    assert np.allclose(found, (1 - 30.5 / 40, 1 - 15.5 / 20), atol=0.03)
    # The orientation of DICOM's axial slices: columns to the left, rows to the back.
    affine = torch.diag(torch.tensor([-1.0, -1.0, 1.0, 1.0], dtype=torch.float64))
    other = drawing(Image(pixels, pixels, Geometry.identity(size), affine=affine), heat, OPAQUE)
    assert other.flipped == (True, False, False)
    assert drawing(Image(pixels, pixels, Geometry.identity(size)), heat, OPAQUE).flipped == (False, False, False)


def test_views_and_montages_of_every_shape() -> None:
    drawn = volume((5, 10, 15))
    assert orthogonal(drawn).width > 3 * 300
    few = montage(drawn)
    many = montage(volume((50, 3, 3), (100, 8, 8)))
    assert few.width > 600
    assert many.width < 2000


def views(drawn: Drawing) -> list[np.ndarray]:
    """The three tiles of the orthogonal views, without the texts below."""
    whole = np.asarray(orthogonal(drawn))
    width = (whole.shape[1] - 8) // 3
    return [whole[:-20, i * (width + 4) : i * (width + 4) + width] for i in range(3)]


def test_an_empty_map_leaves_the_middle_slices_as_they_are() -> None:
    """No colour, and no lines: there is no peak that they could mark."""
    size = (5, 9, 7)
    pixels = torch.rand(1, *size, generator=torch.Generator().manual_seed(0)) * 0.9
    drawn = Drawing(pixels, torch.zeros(size), torch.ones(size, dtype=torch.bool))
    assert drawn.peak is None
    plain = replace(drawn, heat=torch.ones(size), style=Style(alpha=0))
    for axis, middle in enumerate((2, 4, 3)):
        expected = np.asarray(plain.plane(axis, middle, 360))
        tile = views(drawn)[axis]
        top, left = ((tile.shape[i] - expected.shape[i]) // 2 for i in (0, 1))
        assert np.array_equal(tile[top : top + expected.shape[0], left : left + expected.shape[1]], expected)
    assert np.array_equal(np.asarray(montage(drawn)), np.asarray(montage(plain)))


def test_a_signed_volume_is_shown_where_its_evidence_is_strongest_for_or_against() -> None:
    drawn = volume((5, 10, 15))
    heat = drawn.heat.clone() * 0.5
    heat[2, 30, 4] = -1
    signed = replace(drawn, heat=heat, style=Style(alpha=1, signed=True))
    assert signed.peak == (2, 30, 4)
    assert drawn.peak == (5, 10, 15)
    middle = np.asarray(signed.plane(0, 2, 40).resize((20, 40)))[30, 4].astype(int)
    assert middle[2] > 150 > 50 > middle[0]
