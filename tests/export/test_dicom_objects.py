"""DICOM results: valid, with the same numbers when read back, and with the data of the right patient only."""

from __future__ import annotations

import copy
import io
import json
import math
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import highdicom as hd
import nibabel
import numpy as np
import pydicom
import pytest
import torch
from pydicom.sr.codedict import codes
from torch import nn

import pellucid
from pellucid.core.geometry import Geometry
from pellucid.core.image import Image
from pellucid.errors import ExportError
from pellucid.export import Case, exported, find
from pellucid.export.dicom_result import fit
from pellucid.export.drawing import drawn
from pellucid.export.formats import sc
from pellucid.export.formats.sr import outline
from pellucid.models.preprocessing import Preprocessing
from tests.export.dicom import CLASSES, IN_THE_PATIENT, MODEL, SHIPPED, SOURCES, case, errors, image, series
from tests.io.test_dicom import write
from tests.io.test_volumes import enhanced
from tests.networks import TinyCNN, seeded

KINDS = ("pm", "sc", "seg", "seg-fractional", "sr")
SEGMENTATIONS = ("seg", "seg-fractional")


def objects(kind: str, one: Case) -> dict[str, bytes]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a warning of theirs may say the patient's name
        return find(kind)(one)


def mapped(content: bytes) -> hd.Image:
    """A Parametric Map as highdicom reads it; its frames can be asked for once all of them are decoded."""
    made = hd.imread(io.BytesIO(content))
    assert made.pixel_array is not None
    return made


def items(dataset: pydicom.Dataset) -> Iterator[pydicom.Dataset]:
    """All items of the content of a report."""
    for item in dataset.get("ContentSequence", ()):
        yield item
        yield from items(item)


def parsed(content: bytes) -> pydicom.Dataset:
    return pydicom.dcmread(io.BytesIO(content))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", SOURCES)
def test_no_object_breaks_the_standard(kind: str, name: str, tmp_path: Path) -> None:
    if kind == "pm" and name not in IN_THE_PATIENT:
        with pytest.raises(ExportError, match="take sc or sr"):
            find(kind)(case(name))
        return
    for file, content in objects(kind, case(name)).items():
        (tmp_path / file).write_bytes(content)
        assert errors(tmp_path / file) == []


@pytest.mark.parametrize("kind", KINDS)
def test_names_of_any_language_are_kept(kind: str, tmp_path: Path) -> None:
    for file, content in objects(kind, case("mr", classes=3)).items():
        (tmp_path / "a.dcm").write_bytes(content)
        assert errors(tmp_path / "a.dcm") == []
        of_it = kind not in ("sc", "pm") or "Zähne" in file
        assert ("Zähne/ß" in str(parsed(content))) == of_it


def test_control_characters_and_backslashes_are_removed() -> None:
    assert fit("a\\b\nc") == "a b c"
    assert len(fit("x" * 100)) == 64


def test_the_verifier_finds_errors(tmp_path: Path) -> None:
    made = parsed(objects("sc", case("ct"))["scan_nodule_sc.dcm"])
    del made.PatientOrientation
    made.save_as(tmp_path / "wrong.dcm")
    assert "PatientOrientation" in "".join(errors(tmp_path / "wrong.dcm"))


@pytest.mark.parametrize("name", SOURCES)
def test_a_segmentation_holds_the_maps(name: str) -> None:
    one = case(name)
    files = objects("seg-fractional", one) | objects("seg", one)
    assert list(files) == ["scan_seg-fractional.dcm", "scan_seg.dcm"]
    graded, binary = (hd.seg.segread(io.BytesIO(content)) for content in files.values())
    assert (graded.SegmentationType, binary.SegmentationType) == ("FRACTIONAL", "BINARY")
    uid = image(name).instances[0].header.SOPInstanceUID
    for index, own in enumerate(one.each()):
        heat = own.heat().numpy()
        asked = {"source_sop_instance_uids": [uid], "segment_numbers": [index + 1], "ignore_spatial_locations": True}
        read = graded.get_pixels_by_source_instance(**asked)[0, ..., 0]
        assert np.abs(read - heat).max() <= 0.5 / 255 + 1e-6
        strong = (heat >= heat.max() / 2) & (heat > 0)
        assert np.array_equal(binary.get_pixels_by_source_instance(**asked)[0, ..., 0], strong)
    description = graded.get_segment_description(2)
    assert description.SegmentLabel == "effusion"
    assert "lass activation of 'effusion'" in description.SegmentDescription


@pytest.mark.parametrize("name", IN_THE_PATIENT)
def test_a_parametric_map_holds_the_maps_at_their_position(name: str) -> None:
    one, source = case(name), image(name).instances[0].header
    files = objects("pm", one)
    assert list(files) == ["scan_nodule_pm.dcm", "scan_effusion_pm.dcm"]
    for own, content in zip(one.each(), files.values(), strict=True):
        made = mapped(content)
        assert made.pixel_array.dtype == np.float32, "viewers draw maps of integers as stripes"
        assert np.array_equal(made.get_frame(1, apply_real_world_transform=True), own.heat().numpy())
        (shown,) = made.SharedFunctionalGroupsSequence[0].FrameVOILUTSequence
        assert (shown.WindowCenter, shown.WindowWidth) == (0.5, 1)
        plane = made.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0]
        assert list(plane.ImagePositionPatient) == list(source.ImagePositionPatient)
        assert made.FrameOfReferenceUID == source.FrameOfReferenceUID
    assert list(objects("pm", case(name, classes=1))) == ["scan_pm.dcm"]


@pytest.mark.parametrize("name", SOURCES)
def test_a_secondary_capture_is_the_overlay_with_a_caption(name: str) -> None:
    one = case(name)
    made = parsed(objects("sc", one)["scan_effusion_sc.dcm"])
    height, width = one.image.original.size
    assert made.pixel_array.shape[0] > height
    assert made.pixel_array.shape[1] > width
    (effusion,) = [own for own in one.each() if own.name == "scan_effusion"]
    assert np.array_equal(made.pixel_array, np.asarray(drawn(effusion))), "what the PNG shows, with one caption"
    assert made.get("BurnedInAnnotation") == image(name).instances[0].header.get("BurnedInAnnotation")


@pytest.mark.parametrize("name", SOURCES)
def test_a_report_holds_probabilities_and_regions(name: str) -> None:
    one = case(name)
    ((_, content),) = objects("sr", one).items()
    report = hd.sr.srread(io.BytesIO(content)).content
    groups = [*report.get_planar_roi_measurement_groups(), *report.get_image_measurement_groups()]
    found = {group.finding_type.meaning: group for group in groups}
    assert set(found) == {"nodule", "effusion"}
    for index, own in enumerate(one.each()):
        group = found[own.explanation.label(0)]
        chance = float(one.explanation.probabilities[0, index])
        (measured,) = group.get_measurements(codes.DCM.Probability)
        assert measured.value == pytest.approx(chance, rel=1e-6)
        assert measured.name.meaning == f"Probability of {own.explanation.label(0)}", "viewers show this text alone"
        if not own.explanation.degenerate.all():
            heat, region = own.heat(), group.roi.value
            row, column = divmod(int(heat.argmax()), heat.shape[1])
            assert region[:, 0].min() <= column + 0.5 <= region[:, 0].max()
            assert region[:, 1].min() <= row + 0.5 <= region[:, 1].max()
    assert report.get_planar_roi_measurement_groups()


WORTH = {"auroc": 0.71, "low": 0.68, "high": 0.75, "maps": 900, "misses": 300}


@pytest.mark.parametrize(
    ("grade", "text"),
    [
        (0.94, "blurring the marked 2 % takes away 94 % of what blurring the whole image does"),
        (math.nan, "blurring the whole image does not lower the probability by 0.1: no grade"),
    ],
)
def test_a_report_holds_the_grades_of_maps(grade: float, text: str, tmp_path: Path) -> None:
    """The first map of the source marks nothing."""
    plain = case("ct")
    graded = replace(
        plain.explanation,
        checks={"grade": torch.tensor([[math.nan, grade]])},
        provenance={**plain.explanation.provenance, "grade_worth": WORTH},
    )
    ((_, content),) = objects("sr", replace(plain, explanation=graded)).items()
    (tmp_path / "a.dcm").write_bytes(content)
    assert errors(tmp_path / "a.dcm") == []
    report = hd.sr.srread(io.BytesIO(content)).content
    groups = [*report.get_planar_roi_measurement_groups(), *report.get_image_measurement_groups()]
    figures = {
        group.finding_type.meaning: {one.name.meaning: float(one.value) for one in group.get_measurements()}
        for group in groups
    }
    assert list(figures["nodule"]) == ["Probability of nodule"]
    stated = {} if math.isnan(grade) else {"Grade of the map for effusion": pytest.approx(grade)}
    assert {name: figure for name, figure in figures["effusion"].items() if "Grade" in name} == stated
    worth = "on drawn radiographs, a lower grade tells maps whose peak misses with AUROC 0.71 (0.68 to 0.75)"
    texts = [str(item.TextValue) for item in items(parsed(content)) if item.get("TextValue")]
    assert (text if math.isnan(grade) else f"{text}; {worth}") in texts
    assert "the map marks nothing: no grade" in texts


def test_a_report_without_grades_says_nothing_of_them() -> None:
    ((_, content),) = objects("sr", case("ct")).items()
    texts = [str(item.TextValue) for item in items(parsed(content)) if item.get("TextValue")]
    assert not [text for text in texts if "grade" in text]


def test_the_outline_is_at_half_of_the_maximum() -> None:
    heat = torch.zeros(40, 60)
    heat[10:20, 30:45] = 1
    heat[30:33, 5:9] = 0.9
    points = outline(heat)
    assert points.min(axis=0).tolist() == [30, 10]
    assert points.max(axis=0).tolist() == [45, 20]
    assert points[0].tolist() == points[-1].tolist()
    assert outline(torch.ones(4, 5)).max(axis=0).tolist() == [5, 4]


@pytest.mark.parametrize("kind", KINDS)
def test_an_object_belongs_to_its_patient_and_study_and_names_the_model(kind: str) -> None:
    one = case("mr")
    source = image("mr").instances[0].header
    series: dict[str, tuple[int, str]] = {}
    for content in objects(kind, one).values():
        made = parsed(content)
        for name in ("PatientName", "PatientID", "PatientBirthDate", "StudyInstanceUID", "StudyDate"):
            assert made.get(name) == source.get(name)
        assert made.SeriesInstanceUID != source.SeriesInstanceUID
        series[made.SeriesInstanceUID] = (made.SeriesNumber, made.SeriesDescription)
        referred = {str(element.value) for element in made.iterall() if element.keyword == "ReferencedSOPInstanceUID"}
        assert str(source.SOPInstanceUID) in referred
        classes = {str(element.value) for element in made.iterall() if element.keyword == "ReferencedSOPClassUID"}
        assert classes == {str(source.SOPClassUID)}
        makers = {item.ManufacturerModelName: item for item in made.ContributingEquipmentSequence}
        assert makers["torchvision:resnet18"].DeviceSerialNumber == "ab" * 32
    assert len(series) == (2 if kind in ("pm", "sc") else 1)
    for facts in zip(*series.values(), strict=True):
        assert len(set(facts)) == len(series), "a number and a description for each"


def test_frames_are_referred_to_by_number() -> None:
    made = parsed(objects("seg", case("a frame of us"))["scan_seg.dcm"])
    numbers = [element.value for element in made.iterall() if element.keyword == "ReferencedFrameNumber"]
    assert numbers
    assert set(numbers) == {3}


@pytest.mark.parametrize("kind", KINDS)
def test_uids_depend_on_the_input_and_the_settings(kind: str) -> None:
    def uids(one: Case) -> list[tuple[str, str]]:
        made = [parsed(content) for content in objects(kind, one).values()]
        return [(one.SOPInstanceUID, one.SeriesInstanceUID) for one in made]

    first, again = uids(case("mr")), uids(case("mr"))
    assert first == again
    assert len({instance for instance, _ in first}) == len(first)
    explanation = case("mr").explanation
    other = uids(case("mr", replace(explanation, provenance={**explanation.provenance, "fuse": "max"})))
    assert not {instance for instance, _ in first} & {instance for instance, _ in other}
    assert first[0][1] != uids(case("ct"))[0][1]
    assert all(len(uid) <= 64 for pair in first for uid in pair)


def test_the_source_is_not_changed() -> None:
    one = case("us of the eighties")
    kept = copy.deepcopy(one.image.original.instances[0].header)
    exported(one, ["sc", "seg", "sr"])
    assert one.image.original.instances[0].header == kept


def test_invalid_attributes_of_a_source_are_corrected() -> None:
    one = case("ct")
    header = one.image.original.instances[0].header
    del header.AccessionNumber
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's, of what is set here
        header.PatientAge, header.PatientSex, header.StudyTime = "62", "U", "14:04:38"
    made = parsed(objects("sr", one)["scan_sr.dcm"])
    assert (made.PatientAge, made.PatientSex, made.StudyTime, made.AccessionNumber) == ("062Y", "", "140438", "")


def test_images_that_are_not_dicom_have_no_objects() -> None:
    pixels = torch.rand(3, 48, 40)
    prepared = Image(pixels, pixels, Geometry.identity((48, 40)))
    explanation = pellucid.explain(seeded(TinyCNN).eval(), pixels[None])
    files, refused = exported(Case("scan", prepared, explanation), ["npz", *KINDS])
    assert list(files) == ["scan_explanation.npz"]
    assert len(refused) == len(KINDS)
    assert all("not from a DICOM file" in str(error) and "\n" not in str(error) for error in refused)


def test_a_source_without_an_identity_is_refused_without_quoting_it() -> None:
    one = case("ct")
    del one.image.original.instances[0].header.StudyInstanceUID
    with pytest.raises(ExportError, match="does not state its StudyInstanceUID"):
        find("seg")(one)
    two = case("ct")
    two.image.original.instances[0].header.Rows = 7
    with pytest.raises(ExportError) as caught:
        find("seg")(two)
    assert "Compressed" not in str(caught.value)


def test_headers_are_not_in_the_repr() -> None:
    header = image("mr").instances[0].header
    assert str(header.PatientName) not in repr(image("mr"))
    assert str(header.PatientID) not in json.dumps(dict(image("mr").provenance))
    assert SHIPPED["MR_small.dcm"].name not in repr(image("mr").instances)


class Deep(nn.Module):
    """A small network of volumes."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv3d(1, 6, 3, stride=2, padding=1)
        self.fc = nn.Linear(6, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.features(x).relu().mean((2, 3, 4)))


def volume(folder: Path, name: str) -> Case:
    """A series, and two classes explained."""
    prepared = Preprocessing(resize=(6, 24, 20), channels=1)(pellucid.read_series(series(folder, name)))
    model = seeded(Deep).eval()
    found = pellucid.explain(model, prepared.values[None], "hirescam", targets=torch.tensor([[0, 1]]), classes=CLASSES)
    return Case("scan", prepared, found, model=MODEL)


@pytest.mark.parametrize("name", IN_THE_PATIENT)
def test_objects_of_a_series(name: str, tmp_path: Path) -> None:
    one = volume(tmp_path / "in", name)
    files, refused = exported(one, KINDS)
    assert refused == []
    for file, content in files.items():
        (tmp_path / file).write_bytes(content)
        assert errors(tmp_path / file) == [], file
    graded = hd.seg.segread(tmp_path / "scan_seg-fractional.dcm")
    binary = hd.seg.segread(tmp_path / "scan_seg.dcm")
    heats = [own.heat().numpy() for own in one.each()]
    uids = [instance.header.SOPInstanceUID for instance in one.image.original.instances]
    for index, heat in enumerate(heats):
        read = graded.get_pixels_by_source_instance(uids, segment_numbers=[index + 1])[..., 0]
        assert np.abs(read - heat).max() <= 0.5 / 255 + 1e-6
        strong = (heat >= heat.max() / 2) & (heat > 0)
        assert np.array_equal(binary.get_pixels_by_source_instance(uids, segment_numbers=[index + 1])[..., 0], strong)
    for own, heat in zip(one.each(), heats, strict=True):
        made = mapped((tmp_path / f"{own.name}_pm.dcm").read_bytes())
        values = {}
        for number, frame in enumerate(made.PerFrameFunctionalGroupsSequence, 1):
            position = tuple(frame.PlanePositionSequence[0].ImagePositionPatient)
            values[position] = made.get_frame(number, apply_real_world_transform=True)
        assert len(values) == 4
        for index, instance in enumerate(one.image.original.instances):
            assert np.array_equal(values[tuple(instance.header.ImagePositionPatient)], heat[index])
    region = hd.sr.srread(tmp_path / "scan_sr.dcm").content.get_planar_roi_measurement_groups()[0]
    peaks = [str(uids[int(heat.reshape(4, -1).max(axis=1).argmax())]) for heat in heats]
    assert str(region.reference_type.meaning) == "Image Region"
    referred = [str(element.value) for element in region[0].iterall() if element.keyword == "ReferencedSOPInstanceUID"]
    assert set(referred) & set(peaks)


def test_nifti_heatmaps_have_the_position_of_the_source(tmp_path: Path) -> None:
    one = volume(tmp_path / "in", "ct")
    files = find("nifti")(one)
    (tmp_path / "a.nii.gz").write_bytes(files["scan_nodule_heatmap.nii.gz"])
    made = nibabel.load(tmp_path / "a.nii.gz")
    assert np.array_equal(made.get_fdata(dtype=np.float32), one.each()[0].heat().numpy().T)
    assert np.allclose(made.affine, one.image.original.affine.numpy())
    assert find("nifti")(one) == files
    with pytest.raises(ExportError, match="take png or npz"):
        find("nifti")(case("cr"))


@pytest.mark.parametrize("name", IN_THE_PATIENT)
def test_frames_of_a_map_follow_one_another_in_the_patient(name: str, tmp_path: Path) -> None:
    made = parsed(find("pm")(volume(tmp_path / "in", name))["scan_nodule_pm.dcm"])
    shared = made.SharedFunctionalGroupsSequence[0]
    row, column = np.reshape(shared.PlaneOrientationSequence[0].ImageOrientationPatient, (2, 3)).astype(float)
    positions = [one.PlanePositionSequence[0].ImagePositionPatient for one in made.PerFrameFunctionalGroupsSequence]
    assert np.allclose(np.diff([np.dot(np.cross(row, column), np.array(at, float)) for at in positions]), 5, atol=1e-3)


def test_the_region_of_a_map_is_its_sources() -> None:
    def of(one: Case) -> pydicom.Dataset:
        made = parsed(find("pm")(one)["scan_pm.dcm"])
        return made.SharedFunctionalGroupsSequence[0].FrameAnatomySequence[0]

    one = case("ct", classes=1)
    header = one.image.original.instances[0].header
    header.pop("AnatomicRegionSequence", None), header.pop("Laterality", None)
    assert (of(one).FrameLaterality, of(one).AnatomicRegionSequence[0].CodeMeaning) == ("U", "Entire body")
    header.Laterality, header.AnatomicRegionSequence = "L", [hd.sr.CodedConcept(*codes.SCT.Breast[:3])]
    assert (of(one).FrameLaterality, of(one).AnatomicRegionSequence[0].CodeMeaning) == ("L", "Breast")
    header.Laterality = "X"
    assert of(one).FrameLaterality == "U"


def test_frames_of_a_volume_are_referred_to_each_by_its_number(tmp_path: Path) -> None:
    source = enhanced()
    source.StudyInstanceUID, source.SeriesInstanceUID, source.FrameOfReferenceUID = "1.2.3", "1.2.4", "1.2.5"
    read = pellucid.read_image(write(tmp_path, source))
    prepared = Preprocessing(resize=(3, 8, 8), channels=1)(read)
    found = pellucid.explain(seeded(Deep).eval(), prepared.values[None], "hirescam")
    files, refused = exported(Case("scan", prepared, found, model=MODEL), KINDS)
    assert refused == []
    for file, content in files.items():
        (tmp_path / file).write_bytes(content)
        assert errors(tmp_path / file) == [], file
        uids = {str(one.value) for one in parsed(content).iterall() if one.keyword == "ReferencedSOPInstanceUID"}
        assert uids - {str(parsed(other).SOPInstanceUID) for other in files.values()} == {source.SOPInstanceUID}
    for kind in ("pm", "seg", "seg-fractional"):
        frames = parsed(files[f"scan_{kind}.dcm"]).PerFrameFunctionalGroupsSequence
        positions = [float(frame.PlanePositionSequence[0].ImagePositionPatient[2]) for frame in frames]
        numbers = [frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber for frame in frames]
        assert [2 * (number - 1) for number in numbers] == positions
    made = parsed(files["scan_seg.dcm"])
    assert len(made.ReferencedSeriesSequence[0].ReferencedInstanceSequence) == 1
    heat = Case("scan", prepared, found).heat().numpy()
    asked = {"source_sop_instance_uid": source.SOPInstanceUID, "source_frame_numbers": [3, 1, 2]}
    read = hd.seg.segread(io.BytesIO(files["scan_seg-fractional.dcm"])).get_pixels_by_source_frame(**asked)[..., 0]
    numbers = [instance.frame for instance in prepared.original.instances]
    by_number = dict(zip(numbers, heat, strict=True))
    assert np.abs(read - np.stack([by_number[number] for number in (3, 1, 2)])).max() <= 0.5 / 255 + 1e-6
    made = mapped(files["scan_pm.dcm"])
    for number, frame in enumerate(made.PerFrameFunctionalGroupsSequence, 1):
        of = frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber
        assert np.array_equal(made.get_frame(number, apply_real_world_transform=True), by_number[of])


def test_several_frames_without_positions_give_no_segmentation() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cine = pellucid.read_image(SHIPPED["examples_ybr_color.dcm"])
    prepared = Preprocessing(resize=(3, 8, 8), channels=1)(cine)
    found = pellucid.explain(seeded(Deep).eval(), prepared.values[None], "hirescam")
    with pytest.raises(ExportError, match="with frame="):
        find("seg")(Case("scan", prepared, found, allow_seg_without_geometry=True))
    with pytest.raises(ExportError, match="take sc or sr"):
        find("seg")(Case("scan", prepared, found))


@pytest.mark.parametrize(
    ("attributes", "refused"),
    [
        ({"PatientBirthDate": "00000000"}, []),
        ({"StudyDate": "20261399"}, []),
        ({"SliceThickness": None}, ["take sc or sr"] * 2),
    ],
)
def test_sources_with_common_faults_have_objects(
    attributes: dict[str, object], refused: list[str], tmp_path: Path
) -> None:
    one = case("ct")
    header = one.image.original.instances[0].header
    for name, value in attributes.items():
        delattr(header, name)
        if value is not None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                setattr(header, name, value)
    files, why = exported(one, KINDS)
    assert len(why) == len(refused)
    assert all(words in str(error) for words, error in zip(refused, why, strict=True))
    for file, content in files.items():
        (tmp_path / file).write_bytes(content)
        assert errors(tmp_path / file) == [], file


def test_uids_differ_where_names_or_pixels_differ() -> None:
    one = case("mr")
    maps = torch.rand(one.explanation.heatmaps.shape, generator=torch.Generator().manual_seed(0))
    one = replace(one, explanation=replace(one.explanation, heatmaps=maps))
    named = replace(one, explanation=replace(one.explanation, classes=("x", "y", "z", "w")))
    shown = replace(one, image=replace(one.image, provenance={**one.image.provenance, "window": [1, 2]}))
    mapped = replace(one, explanation=replace(one.explanation, heatmaps=one.explanation.heatmaps.flip(-1)))
    for kind, count in (("seg", 4), ("seg-fractional", 4), ("pm", 8), ("sc", 8)):
        uids = [
            str(parsed(content).SOPInstanceUID)
            for each in (one, named, shown, mapped)
            for content in objects(kind, each).values()
        ]
        assert len(set(uids)) == len(uids) == count


def test_every_slice_of_a_volume_is_captured(tmp_path: Path) -> None:
    one = volume(tmp_path / "in", "ct")
    instances = one.image.original.instances
    instances[0].header.PatientOrientation = ["L", "P"]
    instances[2].header.BurnedInAnnotation = "YES"
    files = objects("sc", one)
    assert list(files) == [f"scan_{name}_sc-{number}.dcm" for name in ("nodule", "effusion") for number in range(1, 5)]
    series = set()
    for own in one.each():
        made = [parsed(files[f"{own.name}_sc-{number}.dcm"]) for number in range(1, 5)]
        series |= {(each.SeriesInstanceUID, each.SeriesNumber) for each in made}
        assert [each.InstanceNumber for each in made] == [1, 2, 3, 4]
        assert [each.PatientOrientation or [] for each in made] == [["L", "P"], [], [], []]
        assert [each.BurnedInAnnotation for each in made if "BurnedInAnnotation" in each] == ["YES"]
        for index, each in enumerate(made):
            (source,) = each.SourceImageSequence
            assert source.ReferencedSOPInstanceUID == instances[index].header.SOPInstanceUID
            flat = Image(*(one.image.original.pixels[:, index],) * 2, Geometry.identity((128, 128)))
            heat = own.heat()[index][None, None]
            plain = replace(own, image=flat, explanation=replace(own.explanation, heatmaps=heat))
            assert np.array_equal(each.pixel_array, np.asarray(drawn(plain))), "as the slice alone would be drawn"
    assert len({uid for uid, _ in series}) == len({number for _, number in series}) == len(series) == 2


def test_captures_that_do_not_fit_into_memory_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = volume(tmp_path / "in", "ct")
    monkeypatch.setattr(sc, "_MAX_BYTES", 3 * 4 * 128 * 128)
    with pytest.raises(ExportError, match="take pm or seg, or explain fewer classes"):
        find("sc")(one)
    assert len(find("sc")(one.each()[0])) == 4


def test_a_report_points_at_the_maps_that_are_written_with_it(tmp_path: Path) -> None:
    deep = volume(tmp_path / "in", "mr")
    maps = torch.zeros_like(deep.explanation.heatmaps)
    maps[..., -1, 3, 3] = 1
    deep = replace(deep, explanation=replace(deep.explanation, heatmaps=maps))
    for one in (case("ct"), case("cr"), deep):
        in_the_patient = one.image.original.affine is not None
        for formats in (["sr"], ["sr", "pm"], ["sr", "sc"], ["pm", "sc", "seg", "sr"]):
            files, _ = exported(one, formats)
            report = parsed(files["scan_sr.dcm"])
            named = [
                str(item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID)
                for item in items(report)
                if item.get("ValueType") == "IMAGE" and item.ConceptNameCodeSequence[0].CodeValue == "130401"
            ]
            written = {
                str(made.SOPInstanceUID): made
                for file, content in files.items()
                if ("_pm" in file or "_sc" in file) and (made := parsed(content))
            }
            assert set(named) <= set(written)
            if "sc" in formats and one.heat().ndim == 3:
                captures = [written[uid] for uid in named if "FloatPixelData" not in written[uid]]
                assert [made.InstanceNumber for made in captures] == [4, 4], "the slice with the peak"
            kinds = [kind for kind in formats if kind == "sc" or (kind == "pm" and in_the_patient)]
            assert len(named) == 2 * len(kinds)
            (study,) = report.CurrentRequestedProcedureEvidenceSequence
            evidence = {
                (str(series.SeriesInstanceUID), str(item.ReferencedSOPClassUID), str(item.ReferencedSOPInstanceUID))
                for series in study.ReferencedSeriesSequence
                for item in series.ReferencedSOPSequence
            }
            expected = {(str(made.SeriesInstanceUID), str(made.SOPClassUID), uid) for uid, made in written.items()}
            assert {triple for triple in expected if triple[2] in named} <= evidence


@pytest.mark.parametrize(
    ("method", "code"),
    [
        ("scorecam", ("130402", "DCM", "Class activation")),
        ("gradcam", ("130403", "DCM", "Gradient-weighted class activation")),
        ("saliency", ("130404", "DCM", "Saliency")),
        ("aug_smooth", ("130403", "DCM", "Gradient-weighted class activation")),
        ("occlusion", ("occlusion", "99PELLUCID", "Visual explanation by occlusion")),
    ],
)
def test_maps_have_the_code_of_their_method(method: str, code: tuple[str, str, str], tmp_path: Path) -> None:
    prepared = Preprocessing(resize=(24, 20))(image("ct"))
    one = case("ct", pellucid.explain(seeded(TinyCNN).eval(), prepared.values[None], method))
    one = replace(one, image=prepared)
    files, _ = exported(one, ["pm", "seg", "seg-fractional", "sc", "sr"])
    pm, seg = (parsed(files[f"scan_{kind}.dcm"]) for kind in ("pm", "seg"))
    mapping = pm.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0]
    (quantity,) = (item.ConceptCodeSequence[0] for item in mapping.QuantityDefinitionSequence)
    for found in (quantity, seg.SegmentSequence[0].SegmentedPropertyTypeCodeSequence[0]):
        assert (found.CodeValue, found.CodingSchemeDesignator, found.CodeMeaning) == code
    if code[1] == "DCM":
        assert code[0] in {concept.value for concept in codes.cid217.concepts.values()}
    for file, content in files.items():
        (tmp_path / file).write_bytes(content)
        assert errors(tmp_path / file) == [], file


@pytest.mark.parametrize(("degrees", "opens"), [(0, True), (0.01, True), (12, False)])
def test_nifti_of_a_tilted_series_opens_in_every_program_or_is_refused(
    degrees: float, opens: bool, tmp_path: Path
) -> None:
    one = volume(tmp_path / "in", "ct")
    original = one.image.original
    affine = original.affine.clone()
    affine[1, 2] = affine[2, 2] * np.tan(np.deg2rad(degrees))
    one = replace(one, image=replace(one.image, source=replace(original, affine=affine)))
    if not opens:
        with pytest.raises(ExportError, match=r"12.0° from perpendicular .*: take png or npz"):
            find("nifti")(one)
        assert all(find(remedy)(one) for remedy in ("npz", "png"))
        return
    (tmp_path / "a.nii.gz").write_bytes(find("nifti")(one)["scan_nodule_heatmap.nii.gz"])
    made = nibabel.load(tmp_path / "a.nii.gz")
    assert np.allclose(made.affine, affine.numpy())
    # ITK reads the second form where the first has a shear, and refuses a file without it.
    form, code = made.get_qform(coded=True)
    assert (code > 0) == (degrees > 0)
    form = made.affine if form is None else form
    cosines = form[:3, :3] / np.linalg.norm(form[:3, :3], axis=0)
    assert np.allclose(cosines.T @ cosines, np.eye(3), atol=1e-6)
    corner = [*(length - 1 for length in made.shape), 1]
    assert np.abs((form - made.affine) @ corner).max() < 0.5 * min(made.header.get_zooms())


def test_restored_values_never_exceed_those_of_the_map() -> None:
    rows, columns, slices = 33, 41, 25
    geometry = Geometry.identity((slices, columns, rows)).resize((96, 96, 96))
    ones = torch.ones(1, 2, 96, 96, 96)
    assert float(geometry.restore(ones).max()) == 1
    signed = ones * torch.tensor([0.3, -0.7]).reshape(1, 2, 1, 1, 1)
    back = geometry.restore(signed)
    assert (float(back.max()), float(back.min())) == (float(signed.max()), float(signed.min()))
