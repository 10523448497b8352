"""Series as files have them: rounded positions, tilted gantries, gaps, doubles and mixes, and thousands of slices."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
import torch
from pydicom.uid import generate_uid

from pellucid.errors import ImageError, OptionError
from pellucid.io import read_image, read_series
from tests.io.refusals import refusal
from tests.io.test_dicom import dataset, write
from tests.io.test_dimensions import placed
from tests.io.test_volumes import slices


def stack(folder: Path, positions: list[list[str | float]], **attributes: object) -> Path:
    folder.mkdir()
    for index, position in enumerate(positions):
        made = placed(dataset(np.full((4, 5), index, np.uint16)), 0)
        made.ImagePositionPatient = position
        for name, value in attributes.items():
            setattr(made, name, value)
        made.SOPInstanceUID = generate_uid()
        write(folder, made, f"{index:03}.dcm")
    return folder


@pytest.mark.parametrize(("step", "decimals"), [(0.625, 1), (2.5, 0), (0.7, 1), (3.3333, 1), (0.41, 1), (5.0, 0)])
def test_rounded_positions_are_even(tmp_path: Path, step: float, decimals: int) -> None:
    heights = [f"{index * step:.{decimals}f}" for index in range(24)]
    image = read_series(stack(tmp_path / "s", [["0", "0", height] for height in heights]))
    assert image.spacing[0] == pytest.approx(step, rel=0.03)
    assert image.affine is not None
    assert image.values[0, :, 0, 0].tolist() == list(range(24))


@pytest.mark.parametrize("decimals", [0, 1, 6])
@pytest.mark.parametrize("missing", [1, 5, 10])
def test_rounding_does_not_hide_a_missing_slice(tmp_path: Path, decimals: int, missing: int) -> None:
    heights = [index * 1.0 for index in range(12) if index != missing]
    folder = stack(tmp_path / "s", [["0", "0", f"{height:.{decimals}f}"] for height in heights])
    message = refusal(lambda: read_series(folder))
    assert "a slice is missing or surplus; complete the series" in message
    assert all(read_image(path).size == (4, 5) for path in folder.iterdir())  # the other remedy: one by one
    made = placed(dataset(np.full((4, 5), 50, np.uint16)), 0)
    made.ImagePositionPatient = ["0", "0", f"{missing:.{decimals}f}"]
    write(folder, made, "found")
    assert read_series(folder).size == (12, 4, 5)


def test_exact_positions_that_are_uneven_are_refused(tmp_path: Path) -> None:
    heights = [index + 0.1 * (index % 2) for index in range(8)]
    assert "apart" in refusal(lambda: read_series(stack(tmp_path / "s", [[0, 0, f"{h:.6f}"] for h in heights])))


def test_whole_numbers_among_exact_positions_are_exact(tmp_path: Path) -> None:
    heights = ["0", "1.05", "2", "3.05", "4", "5.05"]
    assert "apart" in refusal(lambda: read_series(stack(tmp_path / "s", [["0", "0", height] for height in heights])))


def test_the_tilt_of_a_gantry_is_stated(tmp_path: Path) -> None:
    tilted = read_series(stack(tmp_path / "s", [[0, 1.3 * index, 5 * index] for index in range(6)]))
    assert tilted.provenance["tilt_degrees"] == pytest.approx(np.degrees(np.arctan2(1.3, 5)), abs=0.01)
    assert tilted.spacing[0] == pytest.approx(np.hypot(1.3, 5))
    straight = read_series(slices(tmp_path / "t", [0, 3, 6]))  # oblique, but not tilted
    assert "tilt_degrees" not in straight.provenance


def test_doubles_are_named_and_one_may_be_removed(tmp_path: Path) -> None:
    folder = stack(tmp_path / "s", [[0, 0, 0], [0, 0, 2], [0, 0, 4]])
    shutil.copy(folder / "001.dcm", folder / "copy")
    message = refusal(lambda: read_series(folder))
    assert "001.dcm and copy have the same position: remove one of them" in message
    (folder / "copy").unlink()
    assert read_series(folder).size == (3, 4, 5)


def test_a_mix_of_orientations_may_be_put_into_folders(tmp_path: Path) -> None:
    folder = stack(tmp_path / "s", [[0, 0, 0], [0, 0, 2], [0, 0, 4]])
    other = stack(tmp_path / "t", [[0, 0, 0], [2, 0, 0]], ImageOrientationPatient=[0, 1, 0, 0, 0, 1])
    for path in other.iterdir():
        shutil.copy(path, folder / f"scout-{path.name}")
    assert "put each kind into a folder of its own" in refusal(lambda: read_series(folder))
    assert read_series(other).size == (2, 4, 5)
    for path in folder.glob("scout-*"):
        path.unlink()
    assert read_series(folder).size == (3, 4, 5)


def test_a_mix_of_kinds_may_be_chosen_from(tmp_path: Path) -> None:
    """A scout of another size in the series is left out by its kind of image."""
    folder = stack(tmp_path / "s", [[0, 0, 0], [0, 0, 2]], ImageType=["ORIGINAL", "PRIMARY", "AXIAL"])
    scout = placed(dataset(np.zeros((9, 9), np.uint16)), 1)
    scout.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    write(folder, scout, "scout")
    assert "2 heights" in refusal(lambda: read_series(folder))
    assert read_series(folder, select="type=ORIGINAL/PRIMARY/AXIAL").size == (2, 4, 5)


def test_thousands_of_slices_are_bounded_by_memory_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = stack(tmp_path / "s", [[0, 0, index] for index in range(600)])
    assert read_series(folder).size == (600, 4, 5)
    monkeypatch.setenv("PELLUCID_MAX_GIB", "0.00001")
    monkeypatch.setattr("pellucid.io.dicom_pixels.iter_pixels", lambda *_, **__: pytest.fail("it was decoded"))
    message = refusal(lambda: read_series(folder))
    assert "1 × 600 × 4 × 5 values take 0.0 GiB; at most 1e-05 are used" in message
    monkeypatch.undo()
    monkeypatch.setenv("PELLUCID_MAX_GIB", re.search(r"PELLUCID_MAX_GIB=([\d.]+)", message)[1])
    assert read_series(folder).size == (600, 4, 5)
    monkeypatch.setenv("PELLUCID_MAX_GIB", "much")
    with pytest.raises(OptionError, match="PELLUCID_MAX_GIB is 'much'"):
        read_series(folder)


def test_a_large_ct_is_within_the_limit_and_a_larger_one_states_what_it_takes(tmp_path: Path) -> None:
    from pellucid.io.memory import check_memory

    check_memory(tmp_path, 1, 3000, 512, 512)
    check_memory(tmp_path, 1, 4096, 512, 512)
    with pytest.raises(ImageError, match=r"take 8\.4 GiB; at most 8 are used: set .* PELLUCID_MAX_GIB=8\.4 "):
        check_memory(tmp_path, 1, 4300, 512, 512)


def test_a_header_of_more_frames_than_the_file_can_hold_is_refused_at_once(tmp_path: Path) -> None:
    made = dataset(np.zeros((8, 8), np.uint16))
    for count in (2, 10**6, 10**9):
        made.NumberOfFrames = count
        with pytest.raises(ImageError, match=r"frames|decoded"):
            read_image(write(tmp_path, made))


def test_a_volume_of_many_frames_takes_the_memory_that_is_stated(tmp_path: Path) -> None:
    made = dataset(np.zeros((64, 64), np.uint16), NumberOfFrames=40, PixelData=bytes(64 * 64 * 2 * 40))
    image = read_image(write(tmp_path, made))
    assert image.values.dtype == image.pixels.dtype == torch.float32
    assert image.values.untyped_storage().nbytes() + image.pixels.untyped_storage().nbytes() == 40 * 64 * 64 * 8


def test_slices_without_a_position_are_read_by_themselves(tmp_path: Path) -> None:
    folder = stack(tmp_path / "s", [[0, 0, 0], [0, 0, 2]])
    made = pydicom.dcmread(folder / "001.dcm")
    del made.ImagePositionPatient
    made.save_as(folder / "001.dcm")
    assert "001.dcm does not state its position, orientation and spacing: read it by itself" in refusal(
        lambda: read_series(folder)
    )
    assert read_image(folder / "001.dcm").size == (4, 5)
