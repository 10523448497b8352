"""Whole slides: the total pixel matrix, full or sparse, equal to highdicom's; bounded before anything is decoded."""

from __future__ import annotations

import re
from pathlib import Path

import highdicom
import numpy as np
import pytest
import torch
from pydicom.dataset import Dataset
from pydicom.uid import VLWholeSlideMicroscopyImageStorage, generate_uid

from pellucid.io import dicom_slide, read_image
from tests.io.refusals import refusal, remedies
from tests.io.test_dicom import dataset, write

HEIGHT, WIDTH, TILE = 22, 37, (8, 10)
SLIDE = np.random.default_rng(3).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def tiles(slide: np.ndarray) -> dict[tuple[int, int], np.ndarray]:
    """The tiles of a slide by the row and column of their first pixel; those at the edges are filled up."""
    height, width = TILE
    padded = np.pad(slide, [(0, -slide.shape[0] % height), (0, -slide.shape[1] % width), (0, 0)], constant_values=7)
    rows, columns = range(0, slide.shape[0], height), range(0, slide.shape[1], width)
    return {(row, column): padded[row : row + height, column : column + width] for row in rows for column in columns}


def slide(frames: list[np.ndarray], kind: str, paths: int = 1, **attributes: object) -> Dataset:
    made = dataset(frames[0], NumberOfFrames=len(frames), PixelData=b"".join(frame.tobytes() for frame in frames))
    made.SOPClassUID, made.Modality = VLWholeSlideMicroscopyImageStorage, "SM"
    made.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    made.StudyInstanceUID = made.SeriesInstanceUID = made.FrameOfReferenceUID = generate_uid()
    made.DimensionOrganizationType = kind
    made.TotalPixelMatrixRows, made.TotalPixelMatrixColumns = HEIGHT, WIDTH
    made.ImageOrientationSlide, made.NumberOfOpticalPaths, made.TotalPixelMatrixFocalPlanes = (
        [0, -1, 0, -1, 0, 0],
        paths,
        1,
    )
    made.OpticalPathSequence, made.TotalPixelMatrixOriginSequence = [], [Dataset()]
    origin = made.TotalPixelMatrixOriginSequence[0]
    origin.XOffsetInSlideCoordinateSystem, origin.YOffsetInSlideCoordinateSystem = 20, 40
    for number in range(paths):
        item = Dataset()
        item.OpticalPathIdentifier = f"{number + 1}"
        made.OpticalPathSequence.append(item)
    shared, measures = Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [0.0005, 0.00025], 0.001
    shared.PixelMeasuresSequence = [measures]
    made.SharedFunctionalGroupsSequence = [shared]
    for name, value in attributes.items():
        setattr(made, name, value)
    return made


def positions(where: list[tuple[int, int]], path: str = "1") -> list[Dataset]:
    """The functional groups of sparse tiles."""
    made = []
    for row, column in where:
        frame, plane, optical = Dataset(), Dataset(), Dataset()
        plane.RowPositionInTotalImagePixelMatrix, plane.ColumnPositionInTotalImagePixelMatrix = row + 1, column + 1
        plane.XOffsetInSlideCoordinateSystem = 20 - row * 0.0005
        plane.YOffsetInSlideCoordinateSystem, plane.ZOffsetInSlideCoordinateSystem = 40 - column * 0.00025, 0
        optical.OpticalPathIdentifier = path
        frame.PlanePositionSlideSequence, frame.OpticalPathIdentificationSequence = [plane], [optical]
        made.append(frame)
    return made


def pixels(slide: np.ndarray) -> torch.Tensor:
    return torch.from_numpy((slide / 255).astype(np.float32)).movedim(-1, 0)


def test_a_full_slide(tmp_path: Path) -> None:
    path = write(tmp_path, slide(list(tiles(SLIDE).values()), "TILED_FULL"))
    image = read_image(path)
    assert image.size == (HEIGHT, WIDTH)
    assert torch.equal(image.pixels, pixels(SLIDE))
    second = highdicom.imread(path).get_total_pixel_matrix(dtype=np.uint8, apply_icc_profile=False)
    assert np.array_equal((image.pixels * 255).round().movedim(0, -1).numpy(), second)
    assert image.spacing == (0.0005, 0.00025)
    assert (image.instances[0].header.Rows, image.instances[0].header.Columns) == (HEIGHT, WIDTH)
    assert read_image(path, frame=2).size == TILE


def test_a_sparse_slide_is_white_where_it_has_no_tile(tmp_path: Path) -> None:
    found = tiles(SLIDE)
    where = list(reversed(found))[2:]
    made = slide([found[at] for at in where], "TILED_SPARSE", PerFrameFunctionalGroupsSequence=positions(where))
    image = read_image(write(tmp_path, made))
    expected = (SLIDE / 255).astype(np.float32)
    for row, column in set(found) - set(where):
        expected[row : row + TILE[0], column : column + TILE[1]] = 1
    assert torch.equal(image.pixels, torch.from_numpy(expected).movedim(-1, 0))


def test_optical_paths_are_chosen(tmp_path: Path) -> None:
    other = 255 - SLIDE
    path = write(tmp_path, slide([*tiles(SLIDE).values(), *tiles(other).values()], "TILED_FULL", paths=2))
    message = refusal(lambda: read_image(path))
    assert "its slide has several images" in message
    assert "there are path 1, 2" in message
    option, select = remedies(message)
    assert option == select
    assert torch.equal(
        read_image(path, select=select).pixels, torch.from_numpy((SLIDE / 255).astype(np.float32)).movedim(-1, 0)
    )
    assert torch.equal(
        read_image(path, select="path=2").pixels, torch.from_numpy((other / 255).astype(np.float32)).movedim(-1, 0)
    )
    assert "its path is 1, 2" in refusal(lambda: read_image(path, select="path=3"))


def test_a_slide_is_bounded_by_its_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = slide(list(tiles(SLIDE).values()), "TILED_FULL", TotalPixelMatrixRows=40000, TotalPixelMatrixColumns=50000)
    path = write(tmp_path, made)
    with monkeypatch.context() as patched:
        patched.setattr("pellucid.io.dicom_pixels.iter_pixels", lambda *_, **__: pytest.fail("it was decoded"))
        message = refusal(lambda: read_image(path))
    assert (
        "its slide has 40000 × 50000 pixels; at most 134,217,728 are read: give the file of a smaller level" in message
    )
    assert "frame= for one tile" in message
    assert read_image(path, frame=1).size == TILE


@pytest.mark.parametrize("where", [(0, WIDTH), (HEIGHT + 3, 0), (-4, 0)])
def test_a_tile_outside_is_refused(tmp_path: Path, where: tuple[int, int]) -> None:
    frames = list(tiles(SLIDE).values())[:2]
    made = slide(frames, "TILED_SPARSE", PerFrameFunctionalGroupsSequence=positions([(0, 0), where]))
    assert "frame 2 of a.dcm is a tile outside" in refusal(lambda: read_image(write(tmp_path, made)))


def test_a_slide_of_too_few_tiles_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, slide(list(tiles(SLIDE).values())[:-1], "TILED_FULL"))
    message = refusal(lambda: read_image(path))
    assert re.search(r"needs 3 × 4 tiles .* holds 11: give frame=", message)
    assert read_image(path, frame=11).size == TILE


@pytest.mark.parametrize("name", ["Rows", "Columns", "OpticalPathSequence", "PerFrameFunctionalGroupsSequence"])
def test_incomplete_slides(tmp_path: Path, name: str) -> None:
    where = list(tiles(SLIDE))
    made = slide(list(tiles(SLIDE).values()), "TILED_SPARSE", PerFrameFunctionalGroupsSequence=positions(where))
    delattr(made, name)
    path = write(tmp_path, made)
    if name in ("Rows", "Columns"):
        assert "does not state its" in refusal(lambda: read_image(path))
    else:
        assert torch.equal(read_image(path).pixels, pixels(SLIDE))


def test_a_slide_of_many_tiles_that_is_too_large_names_a_smaller_level(tmp_path: Path) -> None:
    count = 2**17 + 1
    made = slide([np.zeros((1, 1, 3), np.uint8)], "TILED_FULL", NumberOfFrames=count, PixelData=bytes(4 * count))
    made.TotalPixelMatrixRows = made.TotalPixelMatrixColumns = 30_000
    smaller = ": give the file of a smaller level of its pyramid, or frame= for one tile"
    for rows, what in ((30_000, "30000 × 30000 pixels; at most 134,217,728"), (22, "131,073 tiles; at most 131,072")):
        made.TotalPixelMatrixRows = made.TotalPixelMatrixColumns = rows
        path = write(tmp_path, made)
        assert f"its slide has {what} are read{smaller}" in refusal(lambda path=path: read_image(path))
        assert read_image(path, frame=count).size == (1, 1)


def test_the_tiles_of_one_image_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others of the slide are not among them."""
    frames = list(tiles(SLIDE).values())
    path = write(tmp_path, slide(frames * 2, "TILED_FULL", paths=2))
    monkeypatch.setattr(dicom_slide, "_MOST_TILES", len(frames))
    assert torch.equal(read_image(path, select={"path": "2"}).pixels, pixels(SLIDE))
    monkeypatch.setattr(dicom_slide, "_MOST_TILES", len(frames) - 1)
    message = refusal(lambda: read_image(path, select={"path": "2"}))
    assert (
        f"its slide has {len(frames)} tiles; at most {len(frames) - 1} are read: give the file of a smaller" in message
    )
