"""The map between the original picture and the network's grid."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from pellucid.core.geometry import Geometry
from pellucid.errors import ShapeError

sizes = st.lists(st.integers(1, 300), min_size=2, max_size=3)


@st.composite
def chains(draw: st.DrawFn) -> Geometry:
    """A geometry of up to four random steps."""
    geometry = Geometry.identity(draw(sizes))
    rank = len(geometry.source)
    numbers = st.lists(st.integers(0, 40), min_size=rank, max_size=rank)
    for step in draw(st.lists(st.sampled_from(["resize", "crop", "pad", "centre"]), max_size=4)):
        size = [n + 1 for n in draw(numbers)]
        if step == "resize":
            geometry = geometry.resize(size)
        elif step == "crop":
            geometry = geometry.crop(draw(numbers), size)
        elif step == "pad":
            geometry = geometry.pad(draw(numbers), draw(numbers))
        else:
            geometry = geometry.centre_crop(size)
    return geometry


@given(chains(), st.lists(st.floats(-500, 500), min_size=3, max_size=3))
def test_source_point_is_the_inverse_of_point(geometry: Geometry, position: list[float]) -> None:
    position = position[: len(geometry.source)]
    back = geometry.source_point(geometry.point(position))
    assert back == pytest.approx(position, abs=1e-3)


@given(st.lists(st.integers(1, 60), min_size=2, max_size=3), st.data())
def test_cropping_what_was_padded_gives_the_same(size: list[int], data: st.DataObject) -> None:
    numbers = st.lists(st.integers(0, 20), min_size=len(size), max_size=len(size))
    before, after = data.draw(numbers), data.draw(numbers)
    geometry = Geometry.identity(size)
    assert geometry.pad(before, after).crop(before, size) == geometry


def prepared(picture: torch.Tensor) -> tuple[torch.Tensor, Geometry]:
    """Resize, crop, pad and resize again a picture (1, 1, H, W), pixel by pixel and as a geometry."""
    geometry = Geometry.identity(picture.shape[2:])
    picture = F.interpolate(picture, size=(40, 60), mode="bilinear", align_corners=False)
    geometry = geometry.resize((40, 60))
    picture, geometry = picture[..., 5:35, 10:50], geometry.crop((5, 10), (30, 40))
    picture, geometry = F.pad(picture, (1, 2, 3, 4)), geometry.pad((3, 1), (4, 2))
    picture = F.interpolate(picture, size=(74, 86), mode="bilinear", align_corners=False)
    return picture, geometry.resize((74, 86))


def test_a_chain_follows_a_ramp_through_the_real_operations() -> None:
    rows, columns = torch.meshgrid(torch.arange(80) + 0.5, torch.arange(120) + 0.5, indexing="ij")
    for axis, ramp in enumerate((rows, columns)):
        moved, geometry = prepared(ramp[None, None])
        assert geometry.target == moved.shape[2:]
        for place in ((30, 40), (21, 17), (50, 70)):
            found = geometry.source_point([index + 0.5 for index in place])[axis]
            assert moved[0, 0, place[0], place[1]].item() == pytest.approx(found, abs=0.02)


def test_point_agrees_with_each_step_by_hand() -> None:
    geometry = Geometry.identity((100, 50)).resize((200, 200)).crop((20, 30), (100, 100)).pad((5, 6), (7, 8))
    assert geometry.point((10, 10)) == (10 * 2 - 20 + 5, 10 * 4 - 30 + 6)
    assert geometry.target == (112, 114)


def edges(mask: torch.Tensor) -> list[tuple[int, int]]:
    """The first and the last place on every axis where a mask holds."""
    found = mask.nonzero()
    return list(zip(found.min(0).values.tolist(), found.max(0).values.tolist(), strict=True))


@pytest.mark.parametrize(
    ("source", "box"),
    [((90, 130), ((30, 50), (60, 90))), ((20, 36, 40), ((6, 12), (10, 20), (16, 28)))],
    ids=["2-D", "3-D"],
)
def test_restore_puts_a_bright_box_back(source: tuple[int, ...], box: tuple[tuple[int, int], ...]) -> None:
    picture = torch.zeros(1, 1, *source)
    picture[(..., *(slice(*span) for span in box))] = 1
    short = [round(n * 0.8) for n in source]
    mode = "bilinear" if len(source) == 2 else "trilinear"
    small = F.interpolate(picture, size=short, mode=mode, align_corners=False)
    start, size = [1] * len(source), [n - 3 for n in short]
    small = small[(..., *(slice(a, a + n) for a, n in zip(start, size, strict=True)))]
    geometry = Geometry.identity(source).resize(short).crop(start, size)
    back = geometry.restore(small)
    assert back.shape == picture.shape
    for (first, last), (low, high) in zip(edges(back[0, 0] > 0.5), box, strict=True):
        assert abs(first - low) <= 1
        assert abs(last - (high - 1)) <= 1


def test_what_was_cropped_away_is_zero() -> None:
    geometry = Geometry.identity((10, 20)).crop((0, 5), (10, 10))
    back = geometry.restore(torch.ones(2, 3, 10, 10))
    assert back.shape == (2, 3, 10, 20)
    assert back[..., :5].eq(0).all()
    assert back[..., 15:].eq(0).all()
    assert back[..., 5:15].allclose(torch.ones(()))


def test_padding_is_cut_off_again() -> None:
    maps = torch.rand(1, 2, 8, 6, generator=torch.Generator().manual_seed(0))
    geometry = Geometry.identity((8, 6)).pad((2, 1), (3, 4))
    assert geometry.restore(F.pad(maps, (1, 4, 2, 3))).allclose(maps, atol=1e-6)


def test_restore_of_a_resize_is_torch_s_own_resize_back() -> None:
    maps = torch.rand(1, 1, 7, 7, generator=torch.Generator().manual_seed(0))
    expected = F.interpolate(maps, size=(50, 30), mode="bilinear", align_corners=False)
    assert Geometry.identity((50, 30)).resize((7, 7)).restore(maps).allclose(expected, atol=1e-5)


def test_the_identity_changes_nothing() -> None:
    maps = torch.rand(1, 1, 5, 4)
    assert Geometry.identity((5, 4)).restore(maps) is maps


def test_maps_of_another_size_are_refused() -> None:
    with pytest.raises(ShapeError, match="5 × 4"):
        Geometry.identity((5, 4)).restore(torch.zeros(1, 1, 4, 5))


@pytest.mark.parametrize(("old", "new"), [(256, 224), (225, 224), (227, 224), (224, 224), (220, 224), (221, 224)])
def test_centre_crop_cuts_where_torchvision_does(old: int, new: int) -> None:
    from torchvision.transforms.v2.functional import center_crop

    picture = torch.arange(1.0, old + 1).expand(1, old, old)
    cut = center_crop(picture, [new, new])
    geometry = Geometry.identity((old, old)).centre_crop((new, new))
    column = new // 2
    assert geometry.source_point((column, column + 0.5))[1] + 0.5 == cut[0, column, column]
