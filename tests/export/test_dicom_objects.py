"""DICOM results: valid, with the same numbers when read back, and with the data of the right patient only."""

from __future__ import annotations

import copy
import io
import json
import warnings
from dataclasses import replace
from pathlib import Path

import highdicom as hd
import nibabel
import numpy as np
import pydicom
import pytest
import torch
from torch import nn

import pellucid
from pellucid.core.geometry import Geometry
from pellucid.core.image import Image
from pellucid.errors import ExportError
from pellucid.export import Case, exported, find
from pellucid.export.dicom_result import fit
from pellucid.export.drawing import drawn
from pellucid.export.formats.sr import outline
from pellucid.models.preprocessing import Preprocessing
from tests.export.dicom import CLASSES, IN_THE_PATIENT, MODEL, SHIPPED, SOURCES, case, errors, image, series
from tests.io.test_dicom import write
from tests.io.test_volumes import enhanced
from tests.networks import TinyCNN, seeded

KINDS = ("pm", "sc", "seg", "sr")


def objects(kind: str, one: Case) -> dict[str, bytes]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a warning of theirs may say the patient's name
        return find(kind)(one)


def parsed(content: bytes) -> pydicom.Dataset:
    return pydicom.dcmread(io.BytesIO(content))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", SOURCES)
def test_no_object_breaks_the_standard(kind: str, name: str, tmp_path: Path) -> None:
    if kind == "pm" and name not in IN_THE_PATIENT:
        with pytest.raises(ExportError, match="take seg"):
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
        of_it = kind != "sc" or "Zähne" in file
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
    files = objects("seg", one)
    assert list(files) == ["scan_seg.dcm", "scan_seg-binary.dcm"]
    graded, binary = (hd.seg.segread(io.BytesIO(content)) for content in files.values())
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
    ((_, content),) = objects("pm", one).items()
    made = hd.imread(io.BytesIO(content))
    for index, own in enumerate(one.each()):
        read = made.get_frame(index + 1, apply_real_world_transform=True)
        assert np.abs(read - own.heat().numpy()).max() <= 0.5 / 65535 + 1e-6
    plane = made.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0]
    assert list(plane.ImagePositionPatient) == list(source.ImagePositionPatient)
    assert made.FrameOfReferenceUID == source.FrameOfReferenceUID


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
        assert group.get_measurements()[0].value == pytest.approx(chance, rel=1e-6)
        if not own.explanation.degenerate.all():
            heat, region = own.heat(), group.roi.value
            row, column = divmod(int(heat.argmax()), heat.shape[1])
            assert region[:, 0].min() <= column + 0.5 <= region[:, 0].max()
            assert region[:, 1].min() <= row + 0.5 <= region[:, 1].max()
    assert report.get_planar_roi_measurement_groups()


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
    series = set()
    for content in objects(kind, one).values():
        made = parsed(content)
        for name in ("PatientName", "PatientID", "PatientBirthDate", "StudyInstanceUID", "StudyDate"):
            assert made.get(name) == source.get(name)
        assert made.SeriesInstanceUID != source.SeriesInstanceUID
        series.add(made.SeriesInstanceUID)
        referred = {str(element.value) for element in made.iterall() if element.keyword == "ReferencedSOPInstanceUID"}
        assert str(source.SOPInstanceUID) in referred
        classes = {str(element.value) for element in made.iterall() if element.keyword == "ReferencedSOPClassUID"}
        assert classes == {str(source.SOPClassUID)}
        makers = {item.ManufacturerModelName: item for item in made.ContributingEquipmentSequence}
        assert makers["torchvision:resnet18"].DeviceSerialNumber == "ab" * 32
    assert len(series) == 1


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
    other = uids(case("mr", classes=1))
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
    assert len(refused) == 4
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
    graded = hd.seg.segread(tmp_path / "scan_seg.dcm")
    mapped = hd.imread(tmp_path / "scan_pm.dcm")
    assert mapped.NumberOfFrames == 8
    heats = [own.heat().numpy() for own in one.each()]
    uids = [instance.header.SOPInstanceUID for instance in one.image.original.instances]
    for index, heat in enumerate(heats):
        read = graded.get_pixels_by_source_instance(uids, segment_numbers=[index + 1])[..., 0]
        assert np.abs(read - heat).max() <= 0.5 / 255 + 1e-6
    found = {}
    for number, frame in enumerate(mapped.PerFrameFunctionalGroupsSequence, 1):
        position = tuple(frame.PlanePositionSequence[0].ImagePositionPatient)
        found.setdefault(position, []).append(mapped.get_frame(number, apply_real_world_transform=True))
    for index, instance in enumerate(one.image.original.instances):
        own = found[tuple(instance.header.ImagePositionPatient)]
        pairs = [min(np.abs(frame - heat[index]).max() for heat in heats) for frame in own]
        assert len(own) == 2
        assert max(pairs) <= 0.5 / 65535 + 1e-6
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
        (uid,) = {str(one.value) for one in parsed(content).iterall() if one.keyword == "ReferencedSOPInstanceUID"}
        assert uid == source.SOPInstanceUID
    for kind in ("pm", "seg"):
        frames = parsed(files[f"scan_{kind}.dcm"]).PerFrameFunctionalGroupsSequence
        positions = [float(frame.PlanePositionSequence[0].ImagePositionPatient[2]) for frame in frames]
        numbers = [frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedFrameNumber for frame in frames]
        assert [2 * (number - 1) for number in numbers] == positions
    made = parsed(files["scan_seg.dcm"])
    assert len(made.ReferencedSeriesSequence[0].ReferencedInstanceSequence) == 1


def test_several_frames_without_positions_give_no_segmentation() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cine = pellucid.read_image(SHIPPED["examples_ybr_color.dcm"])
    prepared = Preprocessing(resize=(3, 8, 8), channels=1)(cine)
    found = pellucid.explain(seeded(Deep).eval(), prepared.values[None], "hirescam")
    with pytest.raises(ExportError, match="--frame"):
        find("seg")(Case("scan", prepared, found))


@pytest.mark.parametrize(
    ("attributes", "refused"),
    [({"PatientBirthDate": "00000000"}, []), ({"StudyDate": "20261399"}, []), ({"SliceThickness": None}, ["take pm"])],
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
    one = case("ct")
    named = replace(one, explanation=replace(one.explanation, classes=("x", "y", "z", "w")))
    shown = replace(one, image=replace(one.image, provenance={**one.image.provenance, "window": [1, 2]}))
    mapped = replace(one, explanation=replace(one.explanation, heatmaps=one.explanation.heatmaps.flip(-1)))
    for kind in ("seg", "sc"):
        uids = [
            str(parsed(content).SOPInstanceUID)
            for each in (one, named, shown, mapped)
            for content in objects(kind, each).values()
        ]
        assert len(set(uids)) == len(uids) == 8


def test_views_of_a_volume_have_no_orientation_of_their_own(tmp_path: Path) -> None:
    one = volume(tmp_path / "in", "ct")
    one.image.original.instances[0].header.PatientOrientation = ["L", "P"]
    one.image.original.instances[2].header.BurnedInAnnotation = "YES"
    made = parsed(find("sc")(one)["scan_nodule_sc.dcm"])
    assert not made.PatientOrientation
    assert made.BurnedInAnnotation == "YES"
