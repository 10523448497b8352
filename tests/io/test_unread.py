"""Formats that are not read are named by their content; the remedies that the messages state work."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
import torch
from PIL import Image as Pillow

from pellucid.errors import ImageError, PellucidWarning
from pellucid.io import read_image, read_series
from pellucid.run.finding import inputs
from tests.io.test_dicom import dataset, shipped, write

LEVELS = np.random.default_rng(2).integers(0, 250, (5, 6, 7), dtype=np.uint8)


def volume(path: Path) -> None:
    made = SimpleITK.GetImageFromArray(LEVELS.astype(np.int16))
    made.SetOrigin((10.0, -20.0, 30.0))
    made.SetSpacing((2.0, 1.5, 3.0))
    made.SetDirection((0, 1, 0, -1, 0, 0, 0, 0, 1))
    SimpleITK.WriteImage(made, str(path))


def photograph(path: Path) -> None:
    Pillow.fromarray(LEVELS[0]).save(path)


KINDS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "a.gif": ("a GIF", photograph),
    "a.jp2": ("a JPEG 2000 file", photograph),
    "a.j2k": ("a JPEG 2000 file", photograph),
    "a.nrrd": ("an NRRD volume", volume),
    "a.mha": ("a MetaImage volume (MHA, MHD)", volume),
    "a.mhd": ("a MetaImage volume (MHA, MHD)", volume),
}


def refusal(path: Path) -> str:
    with pytest.raises(ImageError) as caught:
        read_image(path)
    message = str(caught.value)
    assert "\n" not in message
    assert "…" not in message
    return message


@pytest.mark.parametrize("name", KINDS)
def test_the_content_names_the_format(tmp_path: Path, name: str) -> None:
    noun, make = KINDS[name]
    make(tmp_path / name)
    assert f"it is {noun}, which is not read: convert it" in refusal(tmp_path / name)
    for other in ("a.png", "a.dcm", "a.nii", "a"):
        shutil.copy(tmp_path / name, tmp_path / other)
        assert f"it is {noun}, which is not read" in refusal(tmp_path / other)


@pytest.mark.parametrize("name", KINDS)
def test_what_to_convert_it_with_works(tmp_path: Path, name: str) -> None:
    KINDS[name][1](tmp_path / name)
    command = shlex.split(refusal(tmp_path / name).partition("convert it: ")[2])
    assert command[:2] == ["python", "-c"]
    subprocess.run([sys.executable, *command[1:]], cwd=tmp_path, check=True)
    made = read_image(next(tmp_path / found for found in ("volume.nii.gz", "image.png") if (tmp_path / found).exists()))
    if KINDS[name][1] is photograph:
        assert np.abs(made.pixels[0].numpy() * 255 - LEVELS[0]).max() <= 1
        return
    assert np.array_equal(made.values[0].numpy(), LEVELS.astype(np.float32))
    column_row_slice = (3, 2, 4)
    left, back, up = SimpleITK.ReadImage(str(tmp_path / name)).TransformIndexToPhysicalPoint(column_row_slice)
    assert (made.affine.numpy() @ [*column_row_slice, 1])[:3] == pytest.approx([-left, -back, up], abs=1e-4)


def test_a_name_that_would_do_harm_is_not_in_the_command(tmp_path: Path) -> None:
    path = tmp_path / "a'); $(rm -rf x).gif"
    photograph(path)
    command = refusal(path).partition("convert it: ")[2]
    assert "rm" not in command
    assert "Image.open('FILE')" in command


def test_a_zip_archive(tmp_path: Path) -> None:
    path = write(tmp_path, dataset(np.arange(64, dtype=np.uint16).reshape(8, 8)))
    with zipfile.ZipFile(tmp_path / "study.dcm", "w") as archive:
        archive.write(path, "a.dcm")
    assert "it is a zip archive, which is not read: unpack it, and give the folder" in refusal(tmp_path / "study.dcm")
    zipfile.ZipFile(tmp_path / "study.dcm").extractall(tmp_path / "folder")
    assert read_image(tmp_path / "folder" / "a.dcm").size == (8, 8)


def test_a_checkpoint_is_no_archive_to_unpack(tmp_path: Path) -> None:
    torch.save({"weight": torch.ones(2)}, tmp_path / "best.pt")
    assert refusal(tmp_path / "best.pt").endswith(
        "it is a PyTorch checkpoint, which is not read: give it with checkpoint="
    )


def test_a_dicomdir(tmp_path: Path) -> None:
    (tmp_path / "disc").mkdir()
    for index in range(2):
        one = dataset(np.arange(64, dtype=np.uint16).reshape(8, 8), SeriesInstanceUID="1.2.4")
        one.PixelSpacing, one.ImageOrientationPatient = [1, 1], [1, 0, 0, 0, 1, 0]
        one.ImagePositionPatient, one.SliceThickness = [0, 0, 2 * index], 2
        write(tmp_path / "disc", one, f"IM{index}")
    for path in (shutil.copy(shipped("DICOMDIR"), tmp_path / name) for name in ("DICOMDIR", "a.png", "a.dcm")):
        assert "it is a DICOMDIR, the table of contents of a folder of DICOM files, which is not read" in refusal(path)
    shutil.copy(tmp_path / "DICOMDIR", tmp_path / "disc")
    for read in (
        lambda: [found.path.name for found in inputs([tmp_path / "disc"])],
        lambda: read_series(tmp_path / "disc").size,
    ):
        with pytest.warns(PellucidWarning, match="1 file that holds no image was skipped: DICOMDIR"):
            assert read() in (["IM0", "IM1"], (2, 8, 8))
