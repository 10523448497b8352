"""Objects without identity: what the profile lists is removed or replaced, equal values alike; objects stay valid."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import pydicom
import pytest
from dicomanonymizer.dicomfields_selector import dicom_anonymization_database_selector
from pydicom import DataElement, Dataset
from pydicom.datadict import dictionary_VR

import pellucid
from pellucid.errors import ExportError, OptionError
from pellucid.export import Case, exported
from pellucid.export.deidentify import Deidentifier
from pellucid.export.metadata import metadata
from tests.cli.test_medical import IDENTITY, PROFILE, secret
from tests.export.dicom import SOURCES, case, errors, image

KEY = b"a secret of the tests"
KINDS = ["pm", "sc", "seg", "sr"]
TABLE = dicom_anonymization_database_selector("dicomfields_2026c")


def elements(dataset: Dataset) -> Iterator[DataElement]:
    for element in dataset:
        yield element
        for item in element.value if element.VR == "SQ" else ():
            yield from elements(item)


def named(name: str) -> Case:
    """A case whose source holds a value that occurs nowhere else in each attribute of the privacy test."""
    one = case(name)
    for instance in one.image.original.instances:
        header = instance.header
        for index, attribute in enumerate(PROFILE):
            header.add_new(attribute, dictionary_VR(attribute), secret(dictionary_VR(attribute), index))
        header.StudyDate = "20240229"
        header.PatientName, header.PatientID, header.PatientBirthDate = "Doe^Jane", "MRN-4711", "19500101"
        header.AccessionNumber, header.InstitutionName = "ACC123", "Elsewhere"
        header.add_new(0x00091001, "LO", "PRIVATESECRET")
    return one


def objects(one: Case, key: bytes = KEY) -> dict[str, Dataset]:
    files, refused = exported(replace(one, deidentifier=Deidentifier(key)), KINDS)
    assert len(refused) <= 1
    return {name: pydicom.dcmread(io.BytesIO(content)) for name, content in files.items()}


@pytest.mark.parametrize("name", ["ct", "us"])
def test_nothing_of_the_source_remains(name: str) -> None:
    one = named(name)
    header = one.image.original.instances[0].header
    secrets = [text for text in IDENTITY if text != "4711"] + ["PRIVATESECRET", "20240229"]  # digits are in any UID
    secrets += [secret(dictionary_VR(keyword), index) for index, keyword in enumerate(PROFILE)]
    secrets += [str(header.get(uid)) for uid in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")]
    secrets += [str(header.FrameOfReferenceUID)] if "FrameOfReferenceUID" in header else []
    removed = {tag for tag in TABLE["X_TAGS"] if len(tag) == 2}
    found = objects(one)
    assert found
    for made in found.values():
        buffer = io.BytesIO()
        made.save_as(buffer)
        assert not [text for text in secrets if text.encode() in buffer.getvalue()]
        left = {element.keyword for element in elements(made) if (element.tag.group, element.tag.element) in removed}
        assert left == {"SeriesDescription"}
        assert made.SeriesDescription == "AI explanation, not for diagnosis"
        assert not [element for element in elements(made) if element.tag.is_private]
        assert made.PatientIdentityRemoved == "YES"
        codes = [item.CodeValue for item in made.DeidentificationMethodCodeSequence]
        assert codes == ["113100", "113107"]


@pytest.mark.parametrize("name", SOURCES)
def test_objects_stay_valid(name: str, tmp_path: Path) -> None:
    for file, made in objects(case(name)).items():
        made.save_as(tmp_path / file)
        assert errors(tmp_path / file) == []
        assert made.file_meta.MediaStorageSOPInstanceUID == made.SOPInstanceUID


def test_equal_values_are_replaced_alike() -> None:
    one = named("ct")
    with_names, _ = exported(one, KINDS)
    before = {name: pydicom.dcmread(io.BytesIO(content)) for name, content in with_names.items()}
    after, again, other = objects(one), objects(one), objects(one, b"another secret, of others")
    uids: dict[str, str] = {}
    for name, made in after.items():
        pairs = [
            (old.value, new.value)
            for old, new in zip(
                (one for one in elements(before[name]) if one.keyword in _UIDS),
                (one for one in elements(made) if one.keyword in _UIDS),
                strict=True,
            )
        ]
        assert pairs
        for old, new in pairs:
            assert uids.setdefault(old, new) == new != old
        for keyword in ("PatientID", "PatientName", "StudyInstanceUID", "StudyDate", "SOPInstanceUID"):
            assert made[keyword] == again[name][keyword] != other[name][keyword]
    assert len(set(uids.values())) == len(uids)
    header = one.image.original.instances[0].header
    assert {made.StudyInstanceUID for made in after.values()} == {uids[header.StudyInstanceUID]}
    report = next(made for made in after.values() if made.Modality == "SR")
    evidence = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert evidence.ReferencedSOPInstanceUID == uids[header.SOPInstanceUID]


_UIDS = ("StudyInstanceUID", "SOPInstanceUID", "ReferencedSOPInstanceUID", "FrameOfReferenceUID")


def a_study(day: str, patient: str) -> Dataset:
    made = Dataset()
    made.StudyDate, made.PatientID, made.StudyInstanceUID = day, patient, f"1.2.{day}"
    made.AcquisitionDateTime, made.ContentDate, made.StudyTime = f"{day}101112.5", "20261126", "101112"
    made.InstanceCreationDate = "20240230"
    return made


def test_intervals_between_dates_are_kept() -> None:
    moved = {}
    for day, patient in (("20240229", "a"), ("20240310", "a"), ("20240229", "b")):
        made = a_study(day, patient)
        Deidentifier(KEY).apply(made)
        moved[day, patient] = date.fromisoformat(made.StudyDate)
        assert made.AcquisitionDateTime == made.ContentDate == made.StudyDate  # that of the run would tell the days
        assert made.StudyTime in ("", None)
        assert made.InstanceCreationDate == "19000101"
    assert (moved["20240310", "a"] - moved["20240229", "a"]).days == 10
    assert moved["20240229", "b"] != moved["20240229", "a"] < date(2024, 2, 29)


def test_pixels_that_name_the_patient_are_refused() -> None:
    one = named("ct")
    one.image.original.instances[0].header.BurnedInAnnotation = "YES"
    files, refused = exported(replace(one, deidentifier=Deidentifier(KEY)), KINDS)
    assert [str(error) for error in refused] == [str(error) for error in refused if "take seg, pm or sr" in str(error)]
    assert len(refused) == 1
    assert not [name for name in files if name.endswith("_sc.dcm")]
    assert files


def test_metadata_name_no_folder_and_no_digest() -> None:
    one = replace(named("ct"), deidentifier=Deidentifier(KEY))
    text = b"".join(metadata(one, "/data/Doe^Jane/scan.dcm", {}).values()).decode()
    assert '"image": "scan.dcm"' in text
    assert "Doe" not in text
    assert '"image_sha256": null' in text


def test_python_and_wrong_use(tmp_path: Path) -> None:
    one = case("ct")
    paths = pellucid.write(one.explanation, one.image, tmp_path, ["sc", "sr"], deidentify=KEY)
    patients = {pydicom.dcmread(path).PatientID for path in paths}
    assert len(patients) == 1
    assert str(image("ct").instances[0].header.PatientID) not in patients
    drawn = pellucid.write(one.explanation, one.image, tmp_path, "sr", deidentify=True, overwrite=True)
    assert pydicom.dcmread(drawn[0]).PatientID not in patients
    with pytest.raises(OptionError, match="at least 16"):
        Deidentifier(b"short")
    assert "secret" not in repr(Deidentifier(KEY))
    with pytest.raises(ExportError, match="InvalidDicomError"):
        Deidentifier(KEY).cleaned({"a.dcm": b"broken"})
