"""Outlines as masks on the image's own pixels."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from pellucid.core.geometry import Geometry
from pellucid.core.image import Image
from pellucid.errors import DataError
from pellucid.evaluation.data import polygons
from pellucid.evaluation.data.cells import runs_in
from pellucid.evaluation.data.mask_file import MaskFile
from pellucid.evaluation.data.outlines import Boxes, Polygons, RunLengths, StartLengths, United, united
from pellucid.io import read_image


def blank(*size: int) -> Image:
    pixels = torch.zeros(1, *size)
    return Image(pixels, pixels, Geometry.identity(size))


def written(mask: torch.Tensor) -> list[str]:
    """The rows of a mask as text."""
    assert mask.dtype == torch.bool
    return ["".join(".x"[int(flag)] for flag in row) for row in mask]


def reason(outline: object, image: Image) -> tuple[str, str]:
    with pytest.raises(DataError) as caught:
        outline.mask(image)  # type: ignore[attr-defined]
    assert "\n" not in str(caught.value)
    return str(caught.value), caught.value.detail


def naive_polygon(corners: list[tuple[float, float]], height: int, width: int) -> np.ndarray:
    """Pixel by pixel: a ray to the left from its centre crosses the polygon an odd number of times."""
    found = np.zeros((height, width), bool)
    for row in range(height):
        for column in range(width):
            x, y = column + 0.5, row + 0.5
            for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1], strict=True):
                if (y0 <= y) != (y1 <= y) and x0 + (y - y0) / (y1 - y0) * (x1 - x0) <= x:
                    found[row, column] = not found[row, column]
    return found


def test_a_box_holds_the_pixels_whose_centres_lie_in_it() -> None:
    assert written(Boxes(((1, 0, 3, 1), (0.4, 1.6, 1.5, 2.6))).mask(blank(3, 4))) == [".xx.", "....", "x..."]
    assert Boxes(((0, 0, 1, 2, 1, 2),)).mask(blank(3, 2, 4)).nonzero().tolist() == [[1, 0, 0], [1, 0, 1]]


def test_boxes_that_do_not_fit_are_refused() -> None:
    image = blank(100, 200)
    assert Boxes(((-2, 0, 202, 101.9),)).mask(image).all()  # annotation tools round
    assert Boxes(((0, 0, 204, 100),)).mask(image).all()  # 2 % of 200
    assert reason(Boxes(((0, 0, 205, 100),)), image) == (
        "its outline reaches beyond the image",
        "(0, 0, 205, 100) in an image of 100 × 200",
    )
    assert reason(Boxes(((5, 5, 5, 9),)), image)[0].startswith("its box is none")
    assert reason(Boxes(((5, 5, 9),)), image)[0].startswith("its box is none")
    assert reason(Boxes(((float("nan"), 5, 9, 9),)), image)[0].startswith("its box is none")
    assert reason(Boxes(((5.6, 5.6, 5.9, 5.9),)), image)[0] == "its outline holds the centre of no pixel"
    assert reason(Boxes(((5, 5, 9, 9),), (200, 100)), image) == (
        "its outline is stated for an image of another size",
        "200 × 100; the image has 100 × 200",
    )
    assert Boxes(((5, 5, 9, 9),), (100, 200)).mask(image).sum() == 16


@pytest.mark.parametrize("seed", range(6))
def test_polygons_are_those_of_a_replica(seed: int) -> None:
    generator = np.random.default_rng(seed)
    corners = [tuple(one) for one in generator.uniform(-1, [22, 17], (3 + 2 * seed, 2)).tolist()]
    corners += [(3.5, 2.5), (3.5, 9.5), (3.5, 9.5), (10.0, 9.5)]  # through centres, along a row, and twice
    found = Polygons((tuple(corners),)).mask(blank(16, 21))
    assert np.array_equal(found.numpy(), naive_polygon(corners, 16, 21))


def test_a_rectangle_holds_the_pixels_of_its_box() -> None:
    for x0, y0, x1, y1 in [(1, 1, 4, 3), (0.5, 0.5, 2.5, 1.5), (0.3, 0.7, 4.6, 2.51)]:
        polygon = Polygons((((x0, y0), (x1, y0), (x1, y1), (x0, y1)),))
        assert torch.equal(polygon.mask(blank(4, 6)), Boxes(((x0, y0, x1, y1),)).mask(blank(4, 6)))


def test_polygons_are_united_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    image = blank(4, 6)
    first, second = ((0, 0), (2, 0), (2, 2), (0, 2)), ((1, 1), (4, 1), (4, 3), (1, 3))
    assert written(Polygons((first, second)).mask(image)) == ["xx....", "xxxx..", ".xxx..", "......"]
    assert reason(Polygons((first[:2],)), image)[0] == "its polygon has too few or too many corners"
    assert reason(Polygons((((0, 0), (float("inf"), 0), (1, 1)),)), image)[0].startswith("its polygon has coordinates")
    assert reason(Polygons((((0, 0), (30, 0), (30, 2)),)), image)[0] == "its outline reaches beyond the image"
    assert reason(Polygons((((1.6, 0), (1.9, 0), (1.8, 0.2)),)), image)[0] == "its outline holds the centre of no pixel"
    assert reason(Polygons((first,), (6, 4)), image)[0] == "its outline is stated for an image of another size"
    assert reason(Polygons((first,)), blank(2, 4, 6))[0] == "its outline is of a 2-D image"
    monkeypatch.setattr(polygons, "_MOST_CROSSINGS", 3)
    assert reason(Polygons((first,)), image)[0] == "its polygon has too few or too many corners"
    monkeypatch.setattr(polygons, "_MOST_POINTS", 3)
    assert reason(Polygons((first,)), image) == ("its polygon has too few or too many corners", "4 corners")


def test_polygons_of_many_crossings_are_filled_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    corners = [tuple(one) for one in np.random.default_rng(0).uniform(0, 30, (40, 2)).tolist()]
    expected = naive_polygon(corners, 30, 30)
    for crossings in (1, 2, 7, 30):
        monkeypatch.setattr(polygons, "_CHUNK", crossings)
        assert np.array_equal(polygons.filled(corners, 30, 30), expected)
        assert polygons.filled([(0, 0), (30, 0), (30, 30), (0, 30)], 30, 30).all()


def test_run_lengths_go_down_the_columns() -> None:
    rows = [".x.", "x.."]
    assert written(RunLengths((1, 2, 3)).mask(blank(2, 3))) == rows
    assert written(RunLengths("123").mask(blank(2, 3))) == rows  # COCO's text
    assert written(StartLengths((2, 2)).mask(blank(2, 3))) == rows
    assert written(StartLengths((1, 1, 6, 1)).mask(blank(2, 3))) == ["x..", "..x"]
    assert not RunLengths((6,)).mask(blank(2, 3)).any()


def test_run_lengths_that_do_not_fit() -> None:
    image = blank(2, 3)
    for outline in (RunLengths((1, 2)), RunLengths((1, 200)), RunLengths("1!"), RunLengths((1, -2, 7))):
        assert reason(outline, image)[0] == "its run lengths do not fit the image"
    for numbers in ((0, 1), (1, 0), (6, 2), (1, 2, 3), (7, 1), (1, -1), (10**30, 1)):
        assert reason(StartLengths(numbers), image)[0] == "its run lengths do not fit the image"
    for outline in (RunLengths((1, 2, 3), (3, 2)), StartLengths((1, 1), (3, 2))):
        assert reason(outline, image)[0] == "its outline is stated for an image of another size"
    assert reason(StartLengths((1, 1)), blank(1, 2, 3))[0] == "its outline is of a 2-D image"


def test_outlines_are_united_once() -> None:
    one, other = Boxes(((0, 0, 1, 1),)), RunLengths((5, 1))
    assert united([one, one]) is one
    assert united([one, other, one]) == United((one, other))
    assert written(united([one, other]).mask(blank(2, 3))) == ["x..", "..x"]


ORACLES = json.loads((Path(__file__).parent / "oracles.json").read_text())


def star(seed: int) -> list[tuple[float, float]]:
    """The corners that benchmarks/published_outlines.py gave pycocotools 2.0.11."""
    generator = np.random.default_rng(seed)
    angles = np.sort(generator.uniform(0, 2 * np.pi, 12))
    radii = generator.uniform(15, 42, 12)
    return [(60 + float(r * np.cos(a)), 45 + float(r * np.sin(a))) for a, r in zip(angles, radii, strict=True)]


@pytest.mark.parametrize("oracle", ORACLES, ids=lambda oracle: str(oracle["seed"]))
def test_outlines_are_those_of_coco(oracle: dict[str, object]) -> None:
    image = blank(90, 120)
    mask = runs_in(str(oracle["text"])).mask(image)
    expected = torch.zeros(120 * 90, dtype=torch.bool)
    for start, length in oracle["pairs"]:  # type: ignore[attr-defined]
        expected[start - 1 : start - 1 + length] = True
    assert torch.equal(mask, expected.reshape(120, 90).T)
    words = " ".join(f"{start} {length}" for start, length in oracle["pairs"])  # type: ignore[attr-defined]
    assert torch.equal(runs_in(words).mask(image), mask)
    drawn = Polygons((tuple(star(int(str(oracle["seed"])))),)).mask(image)
    # pycocotools draws the edges on a grid of a fifth of a pixel and rounds, so pixels on the edge may differ.
    assert (drawn & mask).sum() / (drawn | mask).sum() > 0.98


def saved(folder: Path, array: object, name: str = "mask.png", **options: object) -> MaskFile:
    Pillow.fromarray(np.asarray(array)).save(folder / name, **options)
    return MaskFile(folder / name)


SQUARE = np.pad(np.ones((3, 4), bool), ((2, 3), (1, 5)))


@pytest.mark.parametrize(
    ("name", "levels"),
    [
        ("bool.png", SQUARE),
        ("one.png", SQUARE.astype(np.uint8)),
        ("white.png", SQUARE.astype(np.uint8) * 255),
        ("dark.png", SQUARE.astype(np.uint8) * 30),
        ("deep.png", SQUARE.astype(np.uint16)),
        ("deep_white.png", SQUARE.astype(np.uint16) * 65535),
        ("whole.tif", SQUARE.astype(np.int32)),
        ("float.tif", SQUARE.astype(np.float32)),
        ("red.png", np.stack([SQUARE * 255, SQUARE * 0, SQUARE * 0], -1).astype(np.uint8)),
        ("blue.bmp", np.stack([SQUARE * 0, SQUARE * 0, SQUARE * 255], -1).astype(np.uint8)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_mask_is_where_its_file_is_bright(tmp_path: Path, name: str, levels: np.ndarray) -> None:
    assert np.array_equal(saved(tmp_path, levels, name).mask(blank(8, 10)).numpy(), SQUARE)


def test_grey_edges_are_cut_at_the_half(tmp_path: Path) -> None:
    levels = np.array([[0, 90, 127, 128, 250, 255]], np.uint8)
    assert written(saved(tmp_path, levels).mask(blank(1, 6))) == ["...xxx"]
    assert written(saved(tmp_path, levels // 2).mask(blank(1, 6))) == ["...xxx"]


def test_the_black_of_a_jpeg_is_not_bright(tmp_path: Path) -> None:
    square = np.pad(np.full((16, 16), 255, np.uint8), 20)
    assert np.array_equal(saved(tmp_path, square, "a.jpg", quality=60).mask(blank(56, 56)).numpy(), square > 0)
    noise = np.random.default_rng(0).integers(0, 4, (56, 56)).astype(np.uint8)
    black = saved(tmp_path, noise, "b.jpg", quality=95)
    assert not black.mask(blank(56, 56)).any()
    assert not saved(tmp_path, noise * 0).mask(blank(56, 56)).any()


def test_a_label_map_needs_a_level(tmp_path: Path) -> None:
    file = saved(tmp_path, np.array([[0, 1, 2, 2]], np.uint8))
    assert reason(file, blank(1, 4)) == ("its mask is a label map of several findings", "levels up to 2")
    assert written(MaskFile(file.path, 1).mask(blank(1, 4))) == [".x.."]
    assert written(MaskFile(file.path, 2).mask(blank(1, 4))) == ["..xx"]


def test_masks_that_cannot_be_used(tmp_path: Path) -> None:
    file = saved(tmp_path, SQUARE)
    assert reason(file, blank(10, 8)) == ("its mask has another size than the image", "8 × 10; the image has 10 × 8")
    (tmp_path / "broken.png").write_bytes(file.path.read_bytes()[:40])
    for name in ("broken.png", "gone.png"):
        found, detail = reason(MaskFile(tmp_path / name), blank(8, 10))
        assert found == "its mask cannot be read"
        assert name in detail


def test_outlines_are_values() -> None:
    assert Boxes(((0, 0, 1, 1),)) == Boxes(((0, 0, 1, 1),))
    assert len({Polygons((((0, 0), (1, 0), (1, 1)),)), RunLengths("1"), RunLengths("1"), StartLengths((1, 1))}) == 3


def test_the_brightest_channel_of_a_mask_counts(tmp_path: Path) -> None:
    colours = np.zeros((2, 2, 3), np.uint8)
    colours[0, 0], colours[1, 1] = (255, 255, 255), (0, 255, 0)
    assert written(saved(tmp_path, colours).mask(blank(2, 2))) == ["x.", ".x"]


def test_a_mask_that_lies_elsewhere_is_refused(tmp_path: Path) -> None:
    values = np.zeros((4, 3, 2), np.float32)
    values[1, 2, 0] = 1
    for name, shift in (("image", 0.0), ("mask", 0.005), ("shifted", 2.0)):
        affine = np.diag([1.0, 1.0, 2.0, 1.0])
        affine[0, 3] = shift
        nibabel.save(nibabel.Nifti1Image(values, affine), tmp_path / f"{name}.nii.gz")
    image = read_image(tmp_path / "image.nii.gz")
    assert MaskFile(tmp_path / "mask.nii.gz").mask(image).nonzero().tolist() == [[0, 2, 1]]
    assert reason(MaskFile(tmp_path / "shifted.nii.gz"), image) == (
        "its mask lies elsewhere than the image",
        "the affine maps differ by 2",
    )
