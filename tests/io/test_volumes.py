"""Series, multi-frame objects and NIfTI: volumes with their position in the patient."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import torch
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, EnhancedCTImageStorage, generate_uid

import pellucid
from pellucid.errors import ImageError, OptionError
from pellucid.io import read_image, read_series
from tests.io.refusals import refusal as one_line
from tests.io.refusals import remedies
from tests.io.test_dicom import dataset, lut, shipped, write

SERIES = generate_uid()
LEVELS = np.random.default_rng(5).integers(0, 1000, (6, 10, 12), dtype=np.int16)


def slices(folder: Path, positions: list[float], **attributes: object) -> Path:
    """Slices of a tilted series, named against their order."""
    folder.mkdir()
    for index, position in enumerate(positions):
        made = dataset(LEVELS[index % len(LEVELS)], **attributes)
        made.SeriesInstanceUID, made.StudyInstanceUID, made.FrameOfReferenceUID = SERIES, SERIES, SERIES
        made.PixelSpacing, made.SliceThickness = [0.5, 0.75], 3
        made.ImageOrientationPatient = [1, 0, 0, 0, 0.8, 0.6]
        made.ImagePositionPatient = [10.0, 20 - 0.6 * position, 30 + 0.8 * position]
        made.RescaleSlope, made.RescaleIntercept = 1 + index, -1000
        write(folder, made, f"{99 - index}.dcm")
    return folder


def refusal(folder: Path) -> str:
    with pytest.raises(ImageError) as caught:
        read_series(folder)
    message = str(caught.value)
    assert "\n" not in message
    assert SERIES not in message
    return message


def test_slices_become_a_volume_in_the_order_of_their_positions(tmp_path: Path) -> None:
    image = read_series(slices(tmp_path / "s", [6, 0, 3, 9]))
    assert image.pixels.shape == image.values.shape == (1, 4, 10, 12)
    order = [1, 2, 0, 3]
    for position, index in enumerate(order):
        expected = torch.from_numpy(LEVELS[index] * float(1 + index) - 1000).float()
        assert torch.equal(image.values[0, position], expected)
    assert image.spacing == pytest.approx((3, 0.5, 0.75))
    assert [str(one.header.InstanceNumber) for one in image.instances if "InstanceNumber" in one.header] == []
    assert len(image.instances) == 4
    assert image.digest == read_series(tmp_path / "s").digest


def test_the_affine_gives_positions_in_the_patient(tmp_path: Path) -> None:
    image = read_series(slices(tmp_path / "s", [0, 3, 6]))
    for index, instance in enumerate(image.instances):
        header = instance.header
        column, row = 7, 4
        cosines = np.array(header.ImageOrientationPatient, dtype=float)
        position = (
            np.array(header.ImagePositionPatient, dtype=float) + cosines[:3] * 0.75 * column + cosines[3:] * 0.5 * row
        )
        found = image.affine @ torch.tensor([column, row, index, 1], dtype=torch.float64)
        assert found[:3].tolist() == pytest.approx([-position[0], -position[1], position[2]])


@pytest.mark.parametrize(
    ("positions", "words"),
    [([0, 3, 9], "a slice is missing"), ([0, 3, 3, 6], "have the same position"), ([0, 3, 4, 7], "a slice is missing")],
)
def test_gaps_and_duplicates_are_refused_by_name(tmp_path: Path, positions: list[float], words: str) -> None:
    message = refusal(slices(tmp_path / "s", positions))
    assert words in message
    assert re.search(r"\d\d\.dcm and \d\d\.dcm", message)


def changed(folder: Path, name: str, **attributes: object) -> None:
    made = pydicom.dcmread(folder / name)
    for key, value in attributes.items():
        if value is None:
            delattr(made, key)
        else:
            setattr(made, key, value)
    made.save_as(folder / name)


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"SeriesInstanceUID": generate_uid()}, "2 series"),
        ({"ImagePositionPatient": None}, "does not state its position"),
        ({"ImageOrientationPatient": [0, 1, 0, 1, 0, 0]}, "another orientation"),
        ({"PixelSpacing": [0.5, 0.5]}, "orientation or spacing"),
        ({"Columns": 6}, "2 widths"),
    ],
)
def test_slices_that_do_not_fit_are_refused_by_name(tmp_path: Path, attributes: dict[str, object], words: str) -> None:
    folder = slices(tmp_path / "s", [0, 3, 6])
    changed(folder, "98.dcm", **attributes)
    message = refusal(folder)
    assert words in message
    assert "98.dcm" in message


def test_folders_without_slices_are_refused(tmp_path: Path) -> None:
    assert "no DICOM slices" in refusal(tmp_path)
    (tmp_path / "a.txt").write_text("x")
    assert "no DICOM slices" in refusal(tmp_path)
    assert "it is not a folder" in refusal(tmp_path / "a.txt")


def test_a_window_holds_for_all_slices(tmp_path: Path) -> None:
    image = read_series(slices(tmp_path / "s", [0, 3]), window=(0, 400))
    assert torch.allclose(image.pixels, ((image.values + 0.5) / 399 + 0.5).clamp(0, 1), atol=1e-6)
    several = slices(tmp_path / "t", [0, 3])
    changed(several, "99.dcm", WindowCenter=5, WindowWidth=50)
    changed(several, "98.dcm", WindowCenter=9, WindowWidth=50)
    assert read_series(several).provenance["window"] is None


@pytest.mark.parametrize(("window", "centre"), [("lung", -600), ("40,400", 40), ((40, 400), 40)])
def test_a_requested_window_is_used(window: str | tuple[float, float], centre: float) -> None:
    image = read_image(shipped("CT_small.dcm"), window=window)
    assert image.provenance["window"][0] == centre


@pytest.mark.parametrize("window", ["lugn", "40", "a,b", "40,0", (1, 2, 3), "40,nan"])
def test_invalid_windows_are_refused(window: str) -> None:
    with pytest.raises(OptionError) as caught:
        read_image(shipped("CT_small.dcm"), window=window)
    assert "\n" not in str(caught.value)


def test_presets_need_ct_and_windows_need_measured_values(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="Hounsfield"):
        read_image(shipped("MR_small.dcm"), window="lung")
    with pytest.raises(ImageError, match="in colour"):
        read_image(shipped("examples_rgb_color.dcm"), window="40,400")
    import PIL.Image

    PIL.Image.new("L", (4, 4)).save(tmp_path / "a.png")
    with pytest.raises(ImageError, match="no measured values"):
        read_image(tmp_path / "a.png", window="40,400")
    with pytest.raises(ImageError, match="it holds one image"):
        read_image(tmp_path / "a.png", frame=2)


def test_frames() -> None:
    path = shipped("examples_ybr_color.dcm")
    whole, third = read_image(path), read_image(path, frame=3)
    assert whole.pixels.shape == (3, 30, 240, 320)
    assert torch.equal(third.pixels, whole.pixels[:, 2])
    assert [one.frame for one in whole.instances] == list(range(1, 31))
    assert third.instances[0].frame == 3
    with pytest.raises(ImageError, match="it has 30, counted from 1"):
        read_image(path, frame=31)


def enhanced() -> Dataset:
    """A multi-frame CT object, whose frames each have a rescale and a position."""
    made = dataset(LEVELS[0])
    made.SOPClassUID, made.NumberOfFrames = EnhancedCTImageStorage, 3
    made.PixelData = LEVELS[:3].tobytes()
    shared, measures, orientation = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [0.5, 0.75], 2
    orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    made.SharedFunctionalGroupsSequence, made.PerFrameFunctionalGroupsSequence = [shared], []
    for index in range(3):
        frame, position, rescale = Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = [0, 0, 2 * index]
        rescale.RescaleSlope, rescale.RescaleIntercept, rescale.RescaleType = index + 1, -5, "HU"
        frame.PlanePositionSequence, frame.PixelValueTransformationSequence = [position], [rescale]
        made.PerFrameFunctionalGroupsSequence.append(frame)
    return made


def test_functional_groups_of_enhanced_objects(tmp_path: Path) -> None:
    path = write(tmp_path, enhanced())
    image = read_image(path)
    expected = torch.from_numpy(np.stack([LEVELS[i] * float(i + 1) - 5 for i in range(3)])).float()
    assert torch.equal(image.values[0], expected)
    assert image.spacing == (2, 0.5, 0.75)
    second = read_image(path, frame=2)
    assert torch.equal(second.values[0], expected[1])
    assert second.spacing == (0.5, 0.75)
    assert list(second.instances[0].header.ImagePositionPatient) == [0, 0, 2]


def nifti(folder: Path, array: np.ndarray, name: str = "a.nii.gz") -> Path:
    affine = np.array([[-2.0, 0, 0, 90], [0, 1.5, 0.2, -126], [0, -0.2, 3, -72], [0, 0, 0, 1]])
    nibabel.save(nibabel.Nifti1Image(array, affine), folder / name)
    return folder / name


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_nifti(tmp_path: Path, name: str) -> None:
    path = nifti(tmp_path, LEVELS, name)
    image = read_image(path)
    assert torch.equal(image.values[0], torch.from_numpy(LEVELS.T.astype(np.float32)))
    assert image.spacing == pytest.approx(tuple(nibabel.load(path).header.get_zooms()[::-1]))
    assert np.array_equal(image.affine.numpy(), nibabel.load(path).affine)
    assert image.pixels.min() == 0
    assert image.pixels.max() == 1
    one = read_image(path, frame=3)
    assert torch.equal(one.values, image.values[:, 2])
    position = torch.tensor([4, 5, 0, 1], dtype=torch.float64)
    assert torch.allclose(one.affine @ position, image.affine @ (position + torch.tensor([0, 0, 2, 0])))


@pytest.mark.parametrize("content", [b"", b"x" * 400, b"\x1f\x8b" + b"x" * 100])
def test_broken_nifti_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.nii.gz"
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ImageError) as caught:
            read_image(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_one_of_several_nifti_volumes(tmp_path: Path, name: str) -> None:
    array = np.random.default_rng(1).random((2, 3, 4, 5, 1, 2), np.float32)
    path = nifti(tmp_path, array, name)
    message = one_line(lambda: read_image(path))
    assert "it holds 10 volumes" in message
    assert "there are time 1, 2, 3, 4, 5; axis6 1, 2" in message
    option, select = remedies(message)
    assert option == select
    assert torch.equal(read_image(path, select=select).values[0], torch.from_numpy(array[..., 0, 0, 0].T.copy()))
    image = read_image(path, select={"time": 4, "axis6": 2})
    assert torch.equal(image.values[0], torch.from_numpy(array[..., 3, 0, 1].T.copy()))
    assert image.spacing == pytest.approx(tuple(nibabel.load(path).header.get_zooms()[2::-1]))
    assert torch.equal(read_image(path, frame=2, select={"time": 4, "axis6": 2}).values, image.values[:, 1])
    assert "its time is 1, 2, 3, 4, 5: give one" in one_line(lambda: read_image(path, select="time=6"))
    assert "it has no bvalue: leave it out" in one_line(lambda: read_image(path, select="bvalue=6"))


def test_trailing_axes_of_length_one_are_a_volume(tmp_path: Path) -> None:
    for count in (1, 2, 4):
        path = nifti(tmp_path, LEVELS.reshape(*LEVELS.shape, *[1] * count), f"{count}.nii.gz")
        assert torch.equal(read_image(path).values[0], torch.from_numpy(LEVELS.T.astype(np.float32)))


def test_large_nifti_volumes_are_bounded_by_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = nifti(tmp_path, LEVELS, "a.nii")
    monkeypatch.setenv("PELLUCID_MAX_GIB", "0.000001")
    message = one_line(lambda: read_image(path))
    monkeypatch.setenv("PELLUCID_MAX_GIB", re.search(r"PELLUCID_MAX_GIB=([\d.]+)", message)[1])
    assert read_image(path).size == LEVELS.shape[::-1]


def test_nifti_that_is_not_one_volume_is_refused(tmp_path: Path) -> None:
    cut = nifti(tmp_path, LEVELS, "cut.nii")
    cut.write_bytes(cut.read_bytes()[:500])
    with pytest.raises(ImageError, match="broken"):
        read_image(cut)
    huge = nibabel.Nifti1Header()
    huge.set_data_shape((30000, 30000, 30000))
    huge.set_data_dtype(np.uint8)
    (tmp_path / "huge.nii").write_bytes(huge.binaryblock + b"\0" * 4)
    with pytest.raises(ImageError):
        read_image(tmp_path / "huge.nii")


def test_a_bright_box_is_mapped_back_through_the_preprocessing() -> None:
    from pellucid.core.geometry import Geometry
    from pellucid.models.preprocessing import Preprocessing

    volume = torch.zeros(1, 20, 64, 48)
    volume[0, 12:15, 40:48, 8:16] = 1
    image = pellucid.Image(volume, volume, Geometry.identity((20, 64, 48)))
    settings = Preprocessing(resize=(16, 32, 32), crop=(12, 24, 24), channels=1, mean=(0.5,), std=(0.25,))
    prepared = settings(image)
    assert prepared.values.shape == (1, 12, 24, 24)
    assert torch.allclose(prepared.values, (prepared.pixels - 0.5) / 0.25)
    back = prepared.geometry.restore(prepared.pixels[None])[0, 0]
    centre = (back[..., None] * torch.stack(torch.meshgrid(*map(torch.arange, back.shape), indexing="ij"), -1)).sum(
        (0, 1, 2)
    )
    centre /= back.sum()
    cell = torch.tensor([20 / 16, 64 / 32, 48 / 32])
    assert ((centre - torch.tensor([13.0, 43.5, 11.5])).abs() <= cell).all()


def test_slices_of_a_volume_are_prepared_as_images_are() -> None:
    from pellucid.core.geometry import Geometry
    from pellucid.models.preprocessing import Preprocessing

    volume = torch.rand(3, 5, 40, 30)
    image = pellucid.Image(volume, volume, Geometry.identity((5, 40, 30)))
    settings = Preprocessing(16, (14, 12), (0.4, 0.5, 0.6), (0.2, 0.3, 0.4))
    whole = settings(image)
    for index in range(5):
        one = settings(pellucid.Image(volume[:, index], volume[:, index], Geometry.identity((40, 30))))
        assert torch.allclose(whole.values[:, index], one.values, atol=1e-6)


def test_a_series_of_one_slice_is_a_volume(tmp_path: Path) -> None:
    image = read_series(slices(tmp_path / "s", [0]))
    assert image.values.shape == (1, 1, 10, 12)
    assert image.spacing == pytest.approx((3, 0.5, 0.75))


def test_axes_that_are_not_orthogonal_give_no_affine(tmp_path: Path) -> None:
    for down in (0.7071, -0.7071):
        made = dataset(LEVELS[0], PixelSpacing=[1, 1], SliceThickness=1)
        made.ImagePositionPatient, made.ImageOrientationPatient = [0, 0, 0], [1, 0, 0, down, 0.7071, 0]
        assert read_image(write(tmp_path, made)).affine is None


def test_a_deflated_bomb_among_slices_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, dataset(np.zeros((512, 512), np.uint16)), syntax=DeflatedExplicitVRLittleEndian)
    monkeypatch.setattr("pellucid.io.dicom_bounded.MAX_DEFLATED", 100_000)
    monkeypatch.setattr("pellucid.io.dicom_bounded.dcmread", lambda *_, **__: pytest.fail("it was inflated"))
    assert "inflates" in refusal(tmp_path)


def test_values_that_begin_far_behind_the_header_are_refused(tmp_path: Path) -> None:
    path = nifti(tmp_path, LEVELS, "a.nii")
    content = bytearray(path.read_bytes())
    for offset in (1e9, float("nan")):
        content[108:112] = np.float32(offset).tobytes()
        path.write_bytes(content)
        with pytest.raises(ImageError, match="begin at byte"):
            read_image(path)


def test_each_slice_is_mapped_by_its_own_table(tmp_path: Path) -> None:
    folder = slices(tmp_path / "s", [0, 3], RescaleIntercept=0)
    for name, top in (("99.dcm", 4095), ("98.dcm", 2047)):
        made = pydicom.dcmread(folder / name)
        made.VOILUTSequence = [lut(np.linspace(0, top, 4096).round().astype(np.uint16), 0, 12)]
        made.RescaleSlope, made.RescaleIntercept = 1, 0
        made.save_as(folder / name)
    image = read_series(folder)
    assert image.provenance["voi"] == "table"
    for index, top in enumerate((4095, 2047)):
        expected = torch.from_numpy(LEVELS[index] / 4095 * top / 4095).float()
        assert torch.allclose(image.pixels[0, index], expected, atol=1e-3)
