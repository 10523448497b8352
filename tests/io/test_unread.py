"""Formats that are not read are named by their content; the remedies that the messages state work."""

from __future__ import annotations

import gc
import gzip
import shlex
import shutil
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import nibabel
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


def of_nibabel(name: str, folder: Path) -> Path:
    """A file that nibabel ships, and the one with its values, in a folder."""
    shipped_ = Path(nibabel.__file__).parent / "tests" / "data"
    found = list(shipped_.glob(f"{name.rpartition('.')[0]}.*"))
    if shipped_ / name not in found:
        pytest.skip(f"this nibabel does not ship {name}")
    for each in found:
        shutil.copy(each, folder)
    return folder / name


def pair(kind: type, folder: Path) -> Path:
    made = kind(LEVELS.T.astype(np.int16), np.diag([2.0, 1.5, 3.0, 1.0]))
    if kind is not nibabel.AnalyzeImage:  # a header that is longer than Analyze's
        made.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"longer"))
    nibabel.save(made, folder / "a.img")
    return folder / "a.hdr"


def by_nibabel(path: Path) -> tuple[np.ndarray, np.ndarray]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # nibabel leaves a .REC file open
        found = nibabel.ecat.load(path) if path.suffix == ".v" else nibabel.load(path)
        values, affine = found.get_fdata().astype(np.float32), found.affine
        del found
        gc.collect()
    return values, affine


HEADERS: dict[str, tuple[str, Callable[[Path], Path]]] = {
    "MINC": ("a MINC volume", lambda folder: of_nibabel("tiny.mnc", folder)),
    "PAR/REC": (
        "the header of a Philips PAR/REC volume",
        lambda folder: of_nibabel("phantom_EPI_asc_CLEAR_2_1.PAR", folder),
    ),
    "AFNI": ("the header of an AFNI volume", lambda folder: of_nibabel("scaled+tlrc.HEAD", folder)),
    "ECAT": ("an ECAT volume", lambda folder: of_nibabel("tinypet.v", folder)),
}
for _kind in (nibabel.Nifti1Pair, nibabel.Nifti2Pair, nibabel.AnalyzeImage):
    HEADERS[_kind.__name__] = (
        "the header of a NIfTI or Analyze volume, whose values are in its .img file",
        lambda folder, kind=_kind: pair(kind, folder),
    )


@pytest.mark.parametrize("name", HEADERS)
def test_volumes_that_nibabel_converts(tmp_path: Path, name: str) -> None:
    """The command gives what nibabel itself reads of the file."""
    noun, make = HEADERS[name]
    path = make(tmp_path)
    message = refusal(path)
    assert f"it is {noun}, which is not read: convert it" in message
    subprocess.run([sys.executable, *shlex.split(message.partition("convert it: ")[2])[1:]], cwd=tmp_path, check=True)
    values, affine = by_nibabel(path)
    several = values.ndim > 3 and values.shape[3] > 1
    made = read_image(tmp_path / "volume.nii.gz", select={"time": 1} if several else None)
    first = values[..., 0] if values.ndim > 3 else values
    assert np.allclose(made.values[0].numpy(), first.T, rtol=1e-6)
    assert np.allclose(made.affine.numpy(), affine, atol=1e-4)


@pytest.mark.parametrize("name", ["minc2-no-att.mnc", "minc2_1_scale.mnc"])
def test_minc_2(tmp_path: Path, name: str) -> None:
    path = of_nibabel(name, tmp_path)
    message = refusal(path)
    assert "it is a MINC 2 volume, which is not read: convert it" in message
    subprocess.run([sys.executable, *shlex.split(message.partition("convert it: ")[2])[1:]], cwd=tmp_path, check=True)
    expected = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))
    assert np.allclose(read_image(tmp_path / "volume.nii.gz").values[0].numpy(), expected, rtol=1e-6)


def test_cifti(tmp_path: Path) -> None:
    """Its intent alone tells it from a volume."""
    for intent in ("ConnDense", "NIFTI_INTENT_ESTIMATE"):
        made = nibabel.Nifti2Image(np.zeros((1, 1, 1, 1, 6, 5), np.float32), np.eye(4))
        made.header.set_intent(intent, name="x")
        nibabel.save(made, tmp_path / "a.dconn.nii")
        message = refusal(tmp_path / "a.dconn.nii")
        assert ("it is CIFTI, values at vertices and regions, which is not read" in message) == (intent == "ConnDense")


@pytest.mark.parametrize("start", [b"CDF\1", b"\x89HDF\r\n\x1a\n"])
def test_containers_of_something_else_are_no_minc(tmp_path: Path, start: bytes) -> None:
    (tmp_path / "a.mnc").write_bytes(start + bytes(2000) + b"minc")
    assert "not in a format that is read" in refusal(tmp_path / "a.mnc")


@pytest.mark.parametrize("name", ["b.dcm.gz", "a.dcm", "IM0001", "a scan.gz"])
def test_dicom_within_gzip(tmp_path: Path, name: str) -> None:
    """The command does not need a suffix, which the check of the content is there for."""
    content = write(tmp_path, dataset(np.arange(64, dtype=np.uint16).reshape(8, 8))).read_bytes()
    packed = tmp_path / name
    packed.write_bytes(gzip.compress(content))
    message = refusal(packed)
    stated = "FILE" if " " in name else name
    command = f"gzip -dc < {stated} > image.dcm"
    assert message.endswith(f"it is a DICOM file within gzip, which is not read: unpack it: {command}")
    filled = command.replace("FILE", shlex.quote(name))
    subprocess.run(filled, shell=True, cwd=tmp_path, check=True)
    assert (tmp_path / "image.dcm").read_bytes() == content
    assert read_image(tmp_path / "image.dcm").size == (8, 8)


def test_something_else_within_gzip(tmp_path: Path) -> None:
    (tmp_path / "b.dcm.gz").write_bytes(gzip.compress(bytes(500)))
    assert "not in a format that is read" in refusal(tmp_path / "b.dcm.gz")


def packed_dicom(folder: Path) -> Path:
    path = write(folder, dataset(np.arange(64, dtype=np.uint16).reshape(8, 8)), "b.dcm")
    packed = folder / "b.dcm.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    return packed


BESIDE = {name: make for name, (_, make) in HEADERS.items()} | {"packed DICOM": packed_dicom}


@pytest.mark.parametrize("name", BESIDE)
def test_a_search_passes_over_what_lies_beside_its_converted_volume(tmp_path: Path, name: str) -> None:
    """Given by name it is refused with what to do."""
    path = BESIDE[name](tmp_path)
    others = sorted(one.name for one in tmp_path.iterdir())
    nibabel.save(nibabel.Nifti1Image(LEVELS.T, np.eye(4)), tmp_path / "converted.nii.gz")
    with pytest.warns(PellucidWarning, match="no image (was|were) skipped") as caught:
        assert [found.path.name for found in inputs([tmp_path])] == ["converted.nii.gz"]
    assert all(one in str(caught[0].message) for one in others[:3])
    assert [found.path for found in inputs([path])] == [path]
    assert "which is not read: " in refusal(path)


def test_a_search_takes_what_is_named_as_an_image(tmp_path: Path) -> None:
    """Reading it reports what is wrong."""
    packed_dicom(tmp_path).rename(tmp_path / "b.dcm")
    volume(tmp_path / "c.nrrd")
    assert [found.path.name for found in inputs([tmp_path])] == ["b.dcm", "c.nrrd"]


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
