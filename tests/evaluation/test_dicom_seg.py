"""DICOM Segmentations become masks of the images that their frames refer to: the project's own, and highdicom's."""

from __future__ import annotations

import io
import shutil
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
import pytest
import torch
from highdicom.seg import Segmentation, SegmentDescription
from pydicom.sr.codedict import codes
from torch import Tensor

from pellucid.errors import DataError
from pellucid.evaluation.case import Case, Data
from pellucid.evaluation.data.segmentations import Segments
from pellucid.evaluation.form import FORMS, Asked
from pellucid.export.formats import seg, seg_fractional
from tests.export.dicom import SHIPPED, SOURCES, case, series

pytestmark = pytest.mark.filterwarnings("ignore:::pydicom", "ignore:::highdicom")


def read(folder: Path, **where: Path) -> Data:
    form, asked = FORMS.find("dicom-seg")(), Asked(str(folder), **where)
    assert form.recognises(asked)
    return form.read(asked)


def masks_of(one: Case) -> dict[str, Tensor]:
    image = one.source.image()
    return {label: outline.mask(image) for label, outline in one.findings.items()}


def segment(number: int, label: str) -> SegmentDescription:
    return SegmentDescription(
        number,
        label,
        codes.SCT.MorphologicallyAbnormalStructure,
        codes.SCT.Nodule,
        hd.seg.SegmentAlgorithmTypeValues.MANUAL,
    )


def written(
    path: Path,
    sources: Sequence[pydicom.Dataset],
    pixels: np.ndarray[Any, Any],
    kind: str = "BINARY",
    labels: Sequence[str] = ("nodule",),
    **options: Any,
) -> pydicom.Dataset:
    """A Segmentation by highdicom: pixels (slices, H, W) or (slices, H, W, segments)."""
    made = Segmentation(
        source_images=sources,
        pixel_array=pixels,
        segmentation_type=kind,
        segment_descriptions=[segment(number, label) for number, label in enumerate(labels, start=1)],
        series_instance_uid=hd.UID(),
        series_number=9,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer="none",
        manufacturer_model_name="none",
        software_versions="0",
        device_serial_number="0",
        **options,
    )
    made.save_as(path)
    return made


@pytest.fixture
def volume(tmp_path: Path) -> tuple[Path, list[pydicom.Dataset]]:
    """A folder with a series of four slices, in the order of their positions."""
    folder = tmp_path / "data"
    folder.mkdir()
    series(folder / "scan", "ct")
    found = [pydicom.dcmread(path) for path in (folder / "scan").iterdir()]
    return folder, sorted(found, key=lambda one: float(one.ImagePositionPatient[2]))


def marked(count: int, size: tuple[int, int]) -> np.ndarray[Any, Any]:
    """A mask that differs from slice to slice; one slice is empty. Its width is odd, so frames end within bytes."""
    mask = np.zeros((count, *size), dtype=bool)
    for index in range(1, count):
        mask[index, 3 * index : 9 * index, 5 : 5 + 7 * index] = True
    return mask


@pytest.mark.parametrize("kind", ["seg", "seg-fractional"])
def test_the_projects_own_export_comes_back(kind: str, tmp_path: Path) -> None:
    one = case("ct")
    shutil.copy(SHIPPED[SOURCES["ct"][0]], tmp_path / "image.dcm")
    for name, content in (seg if kind == "seg" else seg_fractional).export(one).items():
        (tmp_path / name).write_bytes(content)
    data = read(tmp_path)
    maps = [each.heat() for each in one.each()]
    labels = [each.explanation.label(0) for each in one.each()]
    (found,) = data.cases
    assert (found.name, found.labels, data.excluded) == ("image.dcm", None, [])
    masks = masks_of(found)
    assert set(masks) == set(labels)
    for label, heat in zip(labels, maps, strict=True):
        expected = (heat >= 0.5 * heat.max()) & (heat.max() > 0) if kind == "seg" else heat > 0.5
        differs = masks[label] != expected
        assert differs.sum() <= 0.001 * differs.numel()  # steps of 1/255
        assert kind != "seg" or not differs.any()


@pytest.mark.parametrize("omit", [True, False], ids=["without empty frames", "with empty frames"])
def test_frames_of_a_series_are_on_their_slices(omit: bool, volume: tuple[Path, list[pydicom.Dataset]]) -> None:
    folder, slices = volume
    mask = marked(4, (128, 128))
    written(folder / "seg.dcm", slices, mask, omit_empty_frames=omit)
    (found,) = read(folder).cases
    assert found.name == "scan"
    np.testing.assert_array_equal(masks_of(found)["nodule"].numpy(), mask)
    assert len(found.source.digest() or "") == 64


def test_slices_in_any_order_and_several_segments(volume: tuple[Path, list[pydicom.Dataset]]) -> None:
    folder, slices = volume
    both = np.stack([marked(4, (128, 128)), marked(4, (128, 128))[:, ::-1]], axis=-1)
    order = [2, 0, 3, 1]
    written(folder / "seg.dcm", [slices[index] for index in order], both[order], labels=("nodule", "cyst"))
    (found,) = read(folder).cases
    masks = masks_of(found)
    np.testing.assert_array_equal(masks["nodule"].numpy(), both[..., 0])
    np.testing.assert_array_equal(masks["cyst"].numpy(), both[..., 1])


def test_fractional_values_above_one_half_belong_to_it(volume: tuple[Path, list[pydicom.Dataset]]) -> None:
    folder, slices = volume
    shares = np.zeros((4, 128, 128), dtype=np.float32)
    shares[1, 5], shares[1, 6], shares[1, 7] = 0.45, 0.55, 1.0
    written(folder / "seg.dcm", slices, shares, "FRACTIONAL", max_fractional_value=100)
    (found,) = read(folder).cases
    np.testing.assert_array_equal(masks_of(found)["nodule"].numpy(), shares > 0.5)


def test_label_maps_have_a_number_for_each_segment(volume: tuple[Path, list[pydicom.Dataset]]) -> None:
    folder, slices = volume
    numbers = np.zeros((4, 128, 128), dtype=np.uint8)
    numbers[1, 5:9], numbers[2, 7:20, 3:50] = 1, 2
    written(folder / "seg.dcm", slices, numbers, "LABELMAP", labels=("nodule", "cyst"))
    (found,) = read(folder).cases
    masks = masks_of(found)
    np.testing.assert_array_equal(masks["nodule"].numpy(), numbers == 1)
    np.testing.assert_array_equal(masks["cyst"].numpy(), numbers == 2)


def test_two_segmentations_of_an_image_are_united(volume: tuple[Path, list[pydicom.Dataset]]) -> None:
    folder, slices = volume
    first, second = marked(4, (128, 128)), marked(4, (128, 128))[:, :, ::-1]
    written(folder / "a.dcm", slices, first)
    written(folder / "b.dcm", slices, second)
    (found,) = read(folder).cases
    np.testing.assert_array_equal(masks_of(found)["nodule"].numpy(), first | second)


def test_a_segmentation_without_references_is_placed_by_its_position(
    volume: tuple[Path, list[pydicom.Dataset]],
) -> None:
    folder, slices = volume
    mask = marked(4, (128, 128))
    made = written(folder / "seg.dcm", slices, mask)
    for group in made.PerFrameFunctionalGroupsSequence:
        del group.DerivationImageSequence
    for one in made.ReferencedSeriesSequence:
        del one.ReferencedInstanceSequence
    made.save_as(folder / "seg.dcm")
    (found,) = read(folder).cases
    np.testing.assert_array_equal(masks_of(found)["nodule"].numpy(), mask)


def broken(folder: Path, made: pydicom.Dataset, what: str) -> Segments:
    """The segmentation with one thing wrong."""
    if what == "elsewhere":
        for group in made.PerFrameFunctionalGroupsSequence:
            position = group.PlanePositionSequence[0]
            position.ImagePositionPatient = [float(at) + 3 for at in position.ImagePositionPatient]
    elif what == "nowhere":
        for group in made.PerFrameFunctionalGroupsSequence:
            del group.DerivationImageSequence, group.PlanePositionSequence
    elif what == "cut":
        made.PixelData = made.PixelData[:100]
    elif what == "huge":
        made.NumberOfFrames = 2**30
    elif what == "no segment":
        del made.SharedFunctionalGroupsSequence[0].SegmentIdentificationSequence
    elif what == "size":
        made.Rows, made.Columns = 64, 256
    made.save_as(folder / "seg.dcm")
    return Segments(folder / "seg.dcm", (1,))


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("elsewhere", "its segmentation lies elsewhere than the image"),
        ("nowhere", "its segmentation does not say of which images its frames are"),
        ("size", "its segmentation has another size than the image"),
        ("cut", "its segmentation cannot be read"),
        ("huge", "its segmentation cannot be read"),
        ("no segment", "its segmentation cannot be read"),
    ],
)
def test_what_does_not_fit_is_a_reason(what: str, reason: str, volume: tuple[Path, list[pydicom.Dataset]]) -> None:
    folder, slices = volume
    made = written(folder / "seg.dcm", slices, marked(4, (128, 128)))
    (found,) = read(folder).cases
    image = found.source.image()
    with pytest.raises(DataError, match=reason) as caught:
        broken(folder, made, what).mask(image)
    assert "\n" not in str(caught.value) + caught.value.detail


def test_a_radiograph_and_what_is_excluded(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        radiograph = pydicom.dcmread(SHIPPED["6154"])
        other = pydicom.dcmread(SHIPPED["6154"])
    other.SOPInstanceUID, other.SeriesInstanceUID, other.PatientID = hd.UID(), hd.UID(), "Zoë^of another"
    other.file_meta.MediaStorageSOPInstanceUID = other.SOPInstanceUID
    (tmp_path / "masks").mkdir()
    radiograph.save_as(tmp_path / "a.dcm")
    other.save_as(tmp_path / "b.dcm")
    mask = np.zeros((1, radiograph.Rows, radiograph.Columns), dtype=bool)
    mask[0, 5:50, 10:40] = True
    made = one_plane(radiograph, mask)
    made.save_as(tmp_path / "masks" / "s.dcm")
    gone = one_plane(radiograph, mask)
    gone.ReferencedSeriesSequence[0].SeriesInstanceUID = hd.UID()
    gone.ReferencedSeriesSequence[0].ReferencedInstanceSequence[0].ReferencedSOPInstanceUID = hd.UID()
    for group in gone.PerFrameFunctionalGroupsSequence:
        group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID = hd.UID()
    gone.SourceImageSequence[0].ReferencedSOPInstanceUID = hd.UID()
    gone.SOPInstanceUID = hd.UID()
    gone.save_as(tmp_path / "masks" / "gone.dcm")
    (tmp_path / "broken.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 50)
    data = read(tmp_path, masks=tmp_path / "masks")
    (found,) = data.cases
    assert found.name == "a.dcm"
    np.testing.assert_array_equal(masks_of(found)["nodule"].numpy(), mask[0])
    assert {(one.name, one.reason) for one in data.excluded} == {
        ("b.dcm", "no segmentation refers to it"),
        ("masks/gone.dcm", "the image that its segmentation refers to is missing"),
    }
    assert found.patient is not None
    assert str(radiograph.PatientID) not in repr(data)


def one_plane(source: pydicom.Dataset, mask: np.ndarray[Any, Any]) -> pydicom.Dataset:
    """A Segmentation of a radiograph, which has no place in the patient, as highdicom does not make it: by hand."""
    (content,) = seg.export(case("cr")).values()
    dataset = pydicom.dcmread(io.BytesIO(content))
    others = np.zeros((len(dataset.PerFrameFunctionalGroupsSequence) - 1, *mask.shape[1:]), dtype=bool)
    packed = np.packbits(np.concatenate([mask, others]), bitorder="little").tobytes()
    dataset.PixelData = packed + b"\0" * (len(packed) % 2)
    dataset.SegmentSequence[0].SegmentLabel = "nodule"
    return dataset


def test_a_folder_without_segmentations_is_not_recognised(volume: tuple[Path, list[pydicom.Dataset]]) -> None:
    assert not FORMS.find("dicom-seg")().recognises(Asked(str(volume[0])))


def test_an_image_that_is_not_dicom_has_no_mask(volume: tuple[Path, list[pydicom.Dataset]]) -> None:
    folder, slices = volume
    written(folder / "seg.dcm", slices, marked(4, (128, 128)))
    image = read(folder).cases[0].source.image()
    with pytest.raises(DataError, match="does not say of which images"):
        Segments(folder / "seg.dcm", (1,)).mask(replace(image, instances=()))
    assert torch.equal(Segments(folder / "seg.dcm", (7,)).mask(image), torch.zeros(image.size, dtype=torch.bool))


def test_segments_of_one_label_are_united(volume: tuple[Path, list[pydicom.Dataset]]) -> None:
    folder, slices = volume
    both = np.stack([marked(4, (128, 128)), marked(4, (128, 128))[:, ::-1]], axis=-1)
    written(folder / "seg.dcm", slices, both, labels=("nodule", "nodule"))
    (found,) = read(folder).cases
    np.testing.assert_array_equal(masks_of(found)["nodule"].numpy(), both.any(-1))
