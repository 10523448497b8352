"""NIfTI's two forms, trailing axes and missing values; MGH; files by their content. Beside nibabel and SimpleITK."""

from __future__ import annotations

import gzip
import struct
import warnings
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import SimpleITK
import torch

import pellucid
from pellucid.core.image import Image
from pellucid.errors import ImageError
from pellucid.export.case import Case
from pellucid.export.formats import nifti as nifti_export
from pellucid.io import read_image

LEVELS = np.random.default_rng(3).integers(-500, 1500, (7, 6, 5), dtype=np.int16)
TURN = np.deg2rad(30)
SCANNER = np.array(
    [
        [-2 * np.cos(TURN), 1.5 * np.sin(TURN), 0, 90],
        [2 * np.sin(TURN), 1.5 * np.cos(TURN), 0, -126],
        [0, 0, 3, -72],
        [0, 0, 0, 1],
    ]
)
ATLAS = np.array([[2.0, 0, 0, -10], [0, 1.5, 0, 20], [0, 0, 3, 30], [0, 0, 0, 1]])


def save(
    path: Path, array: np.ndarray, sform: tuple[Any, int] = (ATLAS, 4), qform: tuple[Any, int] = (SCANNER, 1)
) -> Path:
    made = nibabel.Nifti1Image(array, None)
    made.set_qform(*qform)
    made.set_sform(*sform)
    nibabel.save(made, path)
    return path


def exported(image: Image, folder: Path) -> Path:
    """The NIfTI that is written for a map that is the image itself."""

    class Drawn(Case):
        def heat(self) -> torch.Tensor:
            return image.pixels[0]

    explanation = pellucid.Explanation.__new__(pellucid.Explanation)
    object.__setattr__(explanation, "targets", torch.zeros(1, 1, dtype=torch.int64))
    (content,) = nifti_export.export(Drawn("a", image, explanation)).values()
    (folder / "heat.nii.gz").write_bytes(content)
    return folder / "heat.nii.gz"


FORMS = {
    "both": ((ATLAS, 4), (SCANNER, 1)),
    "qform alone": ((None, 0), (SCANNER, 1)),
    "sform alone": ((ATLAS, 2), (None, 0)),
    "neither": ((None, 0), (None, 0)),
}


@pytest.mark.parametrize("name", FORMS)
def test_a_heatmap_opens_where_the_source_does_in_both_conventions(tmp_path: Path, name: str) -> None:
    path = save(tmp_path / "a.nii", LEVELS, *FORMS[name])
    image = read_image(path)
    source, written = nibabel.load(path), nibabel.load(exported(image, tmp_path))
    assert np.allclose(image.affine.numpy(), source.affine)
    assert np.allclose(written.affine, source.affine, atol=1e-5)
    for form in ("qform", "sform"):
        (own, code), (other, expected) = (getattr(file, f"get_{form}")(coded=True) for file in (written, source))
        assert code == expected
        assert (own is None) == (other is None)
        assert own is None or np.allclose(own, other, atol=1e-5)
    first, second = (SimpleITK.ReadImage(str(file)) for file in (path, tmp_path / "heat.nii.gz"))
    for what in ("GetOrigin", "GetDirection", "GetSpacing"):
        assert np.allclose(getattr(first, what)(), getattr(second, what)(), atol=1e-4)


def test_a_slice_moves_both_forms(tmp_path: Path) -> None:
    image = read_image(save(tmp_path / "a.nii", LEVELS), frame=3)
    written = nibabel.load(exported(image, tmp_path))
    column_row = np.array([4, 2, 0, 1])
    for form, affine in (("qform", SCANNER), ("sform", ATLAS)):
        expected = affine @ (column_row + np.array([0, 0, 2, 0]))
        assert np.allclose(getattr(written, f"get_{form}")() @ column_row, expected, atol=1e-4)


def test_the_spacing_is_that_of_the_affine(tmp_path: Path) -> None:
    larger = ATLAS @ np.diag([2, 3, 4, 1])
    assert read_image(save(tmp_path / "a.nii", LEVELS, (larger, 2))).spacing == pytest.approx((12, 4.5, 4))


@pytest.mark.parametrize("more", [(1,), (1, 1), (1, 1, 1, 1)])
def test_trailing_axes_of_length_one_are_no_axes(tmp_path: Path, more: tuple[int, ...]) -> None:
    image = read_image(save(tmp_path / "a.nii.gz", LEVELS.reshape(*LEVELS.shape, *more)))
    assert torch.equal(image.values[0], torch.from_numpy(LEVELS.T.astype(np.float32)))


def test_nan_is_no_value(tmp_path: Path) -> None:
    array = np.full((8, 8, 8), -1000, np.float32)
    array[:2], array[4:] = np.nan, -60
    array[0, 0, :2] = np.inf, -np.inf
    for window in (None, (-60, 10)):
        image = read_image(save(tmp_path / "a.nii", array), window=window)
        missing, air, tissue = (image.pixels[0, :, :, part] for part in (slice(2), slice(2, 4), slice(4, None)))
        assert missing.abs().max() == air.abs().max() == 0
        assert tissue.min() == pytest.approx(1 if window is None else 0.5, abs=0.1)
        assert image.values[0, :, :, :2].unique().tolist() == [-1000]
    nothing = read_image(save(tmp_path / "b.nii", np.full((3, 3, 3), np.nan, np.float32)))
    assert nothing.pixels.abs().max() == nothing.values.abs().max() == 0


def test_several_volumes_are_refused_with_a_remedy_that_works(tmp_path: Path) -> None:
    made = nibabel.Nifti1Image(np.stack([LEVELS, LEVELS + 1], axis=-1), ATLAS)
    nibabel.save(made, tmp_path / "a.nii")
    with pytest.raises(ImageError, match=r"it holds 2 volumes: give select=.* there are time 1, 2"):
        read_image(tmp_path / "a.nii")
    second = read_image(tmp_path / "a.nii", select="time=2")
    assert torch.equal(second.values[0], torch.from_numpy((LEVELS + 1).T.astype(np.float32)))


def test_colours_are_refused_with_a_remedy_that_works(tmp_path: Path) -> None:
    colours = np.zeros((4, 5, 6), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    colours["G"] = 7
    nibabel.save(nibabel.Nifti1Image(colours, ATLAS), tmp_path / "a.nii")
    with pytest.raises(ImageError, match=r"it holds colours; .* save one of its components as a file of its own"):
        read_image(tmp_path / "a.nii")
    green = np.asarray(nibabel.load(tmp_path / "a.nii").dataobj)["G"]
    assert read_image(save(tmp_path / "green.nii", green)).values.unique().tolist() == [7]


def changed(path: Path, position: int, layout: str, *values: float) -> Path:
    content = bytearray(path.read_bytes())
    struct.pack_into(f"<{layout}", content, position, *values)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("value", [np.nan, np.inf, 0])
def test_affines_that_lead_nowhere_are_refused(tmp_path: Path, value: float) -> None:
    path = changed(save(tmp_path / "a.nii", LEVELS), 280, "12f", *[value] * 12)
    with pytest.raises(ImageError, match=r"its affine .*: repair its sform or qform"):
        read_image(path)
    repaired = nibabel.load(path)
    repaired.set_sform(None)
    nibabel.save(repaired, tmp_path / "b.nii")
    assert np.allclose(read_image(tmp_path / "b.nii").affine, SCANNER, atol=1e-4)


def test_a_broken_form_that_is_not_used_is_left_out(tmp_path: Path) -> None:
    path = changed(save(tmp_path / "a.nii", LEVELS), 256, "3f", 5, 5, 5)
    image = read_image(path)
    assert np.allclose(image.affine, ATLAS)
    assert (image.provenance["qform"]["code"], image.provenance["sform"]["code"]) == (0, 4)


@pytest.mark.parametrize("name", ["a", "a.dat", "a.dcm", "a.png"])
@pytest.mark.parametrize("kind", [".nii", ".nii.gz", ".mgh", ".mgz"])
def test_the_content_decides(tmp_path: Path, kind: str, name: str) -> None:
    """As ``read_image`` names them; a search through a folder goes by endings."""
    path = tmp_path / f"x{kind}"
    if "m" in kind:
        nibabel.save(nibabel.MGHImage(LEVELS.astype(np.int32), ATLAS), path)
    else:
        save(path, LEVELS)
    image = read_image(path.rename(tmp_path / name))
    assert torch.equal(image.values[0], torch.from_numpy(LEVELS.T.astype(np.float32)))
    assert np.allclose(image.affine, ATLAS)
    assert image.provenance["format"] == ("MGH" if "m" in kind else "NIfTI")


def test_nifti_2_and_big_endian(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti2Image(LEVELS, ATLAS), tmp_path / "a.nii")
    header = nibabel.Nifti1Header(endianness=">")
    header.set_data_dtype(np.dtype(">i2"))
    nibabel.save(nibabel.Nifti1Image(LEVELS, ATLAS, header), tmp_path / "b.nii")
    assert (tmp_path / "b.nii").read_bytes()[:4] == b"\0\0\1\x5c"
    for name in ("a.nii", "b.nii"):
        assert torch.equal(read_image(tmp_path / name).values[0], torch.from_numpy(LEVELS.T.astype(np.float32)))


def test_maps_of_mgh_go_back_to_its_place(tmp_path: Path) -> None:
    nibabel.save(nibabel.MGHImage(LEVELS.astype(np.float32), SCANNER), tmp_path / "a.mgz")
    image = read_image(tmp_path / "a.mgz")
    assert np.allclose(
        nibabel.load(exported(image, tmp_path)).affine, nibabel.load(tmp_path / "a.mgz").affine, atol=1e-4
    )
    assert image.spacing == pytest.approx((3, 1.5, 2), rel=1e-5)


def test_memory_is_not_allocated_for_values_that_the_file_cannot_hold(tmp_path: Path) -> None:
    header = nibabel.Nifti1Header()
    header.set_data_shape((500, 500, 500))
    header.set_data_dtype(np.float64)
    header["vox_offset"] = 352
    for name, content in (("a.nii", header.binaryblock), ("a.nii.gz", gzip.compress(header.binaryblock + bytes(2000)))):
        (tmp_path / name).write_bytes(content)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(ImageError, match="1,000,000,000 bytes of values, and it holds fewer"):
                read_image(tmp_path / name)
