"""``pellucid explain`` on what medicine keeps: DICOM, series and NIfTI in, objects of the study out."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from PIL import Image as Pillow
from pydicom.datadict import dictionary_VR
from typer.testing import Result

import pellucid as library
from pellucid.run import tuned
from tests.cli.conftest import one_line, save, written
from tests.cli.test_explain import dicom
from tests.io.test_dicom import shipped
from tests.io.test_volumes import LEVELS, nifti, slices

Explain = Callable[..., Result]
Model = Callable[..., str]
IDENTITY = ("Doe", "Jane", "MRN-4711", "4711", "19500101", "Who", "Elsewhere", "ACC123")


PROFILE = [
    "AcquisitionDate", "AcquisitionTime", "AdmissionID", "AdmittingDiagnosesDescription", "ContentDate",
    "CurrentPatientLocation", "DerivationDescription", "DeviceSerialNumber", "EthnicGroup", "FrameOfReferenceUID",
    "ImageComments", "InstitutionAddress", "InstitutionalDepartmentName", "IssuerOfPatientID", "MedicalAlerts",
    "NameOfPhysiciansReadingStudy", "Occupation", "OperatorsName", "OtherPatientIDs", "PatientAddress",
    "PatientBirthName", "PatientBirthTime", "PatientComments", "PatientMotherBirthName", "PatientTelephoneNumbers",
    "PerformedProcedureStepDescription", "PerformingPhysicianName", "ProtocolName", "RequestingPhysician",
    "SeriesDate", "SeriesDescription", "SeriesTime", "StationName", "StudyDate", "StudyDescription", "StudyID",
    "StudyTime",
]  # fmt: skip
"""Of the attributes that the basic confidentiality profile removes (PS3.15, table E.1-1), those of an image."""


def secret(vr: str, index: int) -> str:
    """A value of a kind that occurs nowhere else."""
    kinds = {"DA": f"187{index % 10}1{index % 3}{10 + index % 18}", "TM": f"0{index % 10}4{index % 10}59.987"}
    return kinds.get(vr, f"9.87.65.{index}" if vr == "UI" else f"SECRET{index}X")


def ct(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return Path(shutil.copy(shipped("CT_small.dcm"), folder / "scan.dcm"))


def test_objects_are_written_beside_images(explain: Explain, tmp_path: Path) -> None:
    result = explain(ct(tmp_path / "in"), "--export", "png,pm,sc,seg,seg-fractional,sr,nifti", "--target", "all")
    assert result.exit_code == 0, result.stderr
    found = written(tmp_path / "out")
    for name in ("scan_nodule_pm.dcm", "scan_seg.dcm", "scan_seg-fractional.dcm", "scan_sr.dcm", "scan_nodule_sc.dcm"):
        assert name in found
    facts = json.loads((tmp_path / "out" / "scan_nodule_metadata.json").read_text())
    assert facts["objects"] == [
        "scan_nodule_pm.dcm",
        "scan_nodule_sc.dcm",
        "scan_seg.dcm",
        "scan_seg-fractional.dcm",
        "scan_sr.dcm",
    ]
    assert facts["heatmap"] == "scan_nodule_heatmap.png"
    assert facts["image_sha256"] == library.read_image(tmp_path / "in" / "scan.dcm").digest
    assert len(facts["model"]["weights_sha256"]) == 64


def test_what_a_source_does_not_allow_is_an_error_of_that_object(explain: Explain, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    image = Path(shutil.copy(shipped("examples_rgb_color.dcm"), tmp_path / "in" / "us.dcm"))
    result = explain(image, "--export", "pm,sc,seg", "--json")
    assert result.exit_code == 1
    assert not {"us_pm.dcm", "us_seg.dcm"} & set(written(tmp_path / "out"))
    assert "us_sc.dcm" in written(tmp_path / "out")
    pm, seg = json.loads(result.stdout)["images"][0]["refused"]
    assert "take sc or sr" in pm
    assert "take sc or sr, or insist with --allow-seg-without-geometry" in seg
    followed = explain(image, "--export", "sc,sr,seg", "--allow-seg-without-geometry", output=tmp_path / "followed")
    assert followed.exit_code == 0, followed.stderr
    assert {"us_sc.dcm", "us_sr.dcm", "us_seg.dcm"} <= set(written(tmp_path / "followed"))
    photo = save(tmp_path / "in" / "a.png")
    again = explain(photo, "--export", "sr", output=tmp_path / "more")
    assert again.exit_code == 1
    assert written(tmp_path / "more") == ["a_metadata.json"]


def test_a_folder_with_photographs_has_one_line_for_each_reason(explain: Explain, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    ct(folder)
    shutil.copy(shipped("examples_rgb_color.dcm"), folder / "us.dcm")
    for index in range(12):
        save(folder / f"{index:02d}.png", seed=index)
    result = explain(folder, "--export", "png,sc,seg")
    assert result.exit_code == 1
    sc, seg, unplaced = [line for line in result.stderr.splitlines() if line.startswith("error")]
    start = f"error: {folder / '00.png'} and 11 more images: "
    assert sc.startswith(f"{start}a Secondary Capture was asked for; the image is not from a DICOM file")
    assert seg.startswith(f"{start}a Segmentation was asked for; the image is not from a DICOM file")
    assert unplaced.startswith(f"error: {folder / 'us.dcm'}: a Segmentation was asked for; the source does not state")
    end = " ".join(result.stdout.split()).partition("14 explained")[2]
    assert end.startswith(", 13 without a format that was asked for; results are in")
    found = written(tmp_path / "out")
    assert {"scan_sc.dcm", "us_sc.dcm", "scan_seg.dcm", "00_overlay.png", "11_overlay.png"} <= set(found)
    again = explain(folder, "--export", "png,sc,seg", "--json")
    each = {Path(one["image"]).name: len(one["refused"]) for one in json.loads(again.stdout)["images"]}
    assert each == {"scan.dcm": 0, "us.dcm": 1, **{f"{index:02d}.png": 2 for index in range(12)}}
    assert json.loads(again.stdout)["summary"]["incomplete"] == 13
    assert again.stderr == result.stderr


def test_a_format_that_no_image_allows_ends_in_one_line(explain: Explain, tmp_path: Path) -> None:
    for index in range(3):
        save(tmp_path / "in" / f"{index}.png", seed=index)
    result = explain(tmp_path / "in", "--export", "sc")
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    one_line(result, "0.png and 2 more images: a Secondary Capture", "take png or npz")
    result = explain(tmp_path / "in" / "1.png", "--export", "sc")
    one_line(result, f"error: {tmp_path / 'in' / '1.png'}: a Secondary Capture")


def test_windows_and_frames(explain: Explain, tmp_path: Path) -> None:
    assert explain(ct(tmp_path / "in"), "--window", "lung").exit_code == 0
    facts = json.loads((tmp_path / "out" / "scan_metadata.json").read_text())
    assert facts["image_provenance"]["window"] == [-600, 1500]
    one_line(explain(tmp_path / "in" / "scan.dcm", "--window", "lugn", "--overwrite"), "lugn", "did you mean lung?")
    cine = Path(shutil.copy(shipped("examples_ybr_color.dcm"), tmp_path / "cine.dcm"))
    one_line(explain(cine), "volume of 30 slices", "--frame")
    result = explain(cine, "--frame", 3, "--export", "sc", output=tmp_path / "cine")
    assert result.exit_code == 0, result.stderr
    made = pydicom.dcmread(tmp_path / "cine" / "cine_sc.dcm")
    assert made.SourceImageSequence[0].ReferencedFrameNumber == 3


def test_a_series_is_a_volume_for_a_model_of_volumes(explain: Explain, model: Model, tmp_path: Path) -> None:
    folder = slices(tmp_path / "ct", [0, 3, 6, 9, 12])
    result = explain(folder, "--export", "png,seg,pm,nifti,npz", spec=model("deep"))
    assert result.exit_code == 0, result.stderr
    assert "ct_montage.png" in written(tmp_path / "out")
    heat = nibabel.load(tmp_path / "out" / "ct_heatmap.nii.gz")
    volume = library.read_series(folder)
    assert heat.shape == (12, 10, 5)
    assert np.allclose(heat.affine, volume.affine.numpy())
    assert pydicom.dcmread(tmp_path / "out" / "ct_pm.dcm").NumberOfFrames == 5
    peak = json.loads((tmp_path / "out" / "ct_metadata.json").read_text())["peak"]
    peak_index = np.unravel_index(heat.get_fdata().argmax(), heat.shape)
    assert (peak["column"], peak["row"], peak["slice"]) == tuple(int(one) for one in peak_index)


def test_series_are_told_apart(explain: Explain, model: Model, tmp_path: Path) -> None:
    folder = slices(tmp_path / "ct", [0, 3, 6])
    for path in list(folder.iterdir()):
        other = pydicom.dcmread(path)
        other.SeriesInstanceUID = "1.2.3"
        other.save_as(folder / f"b{path.name}")
    result = explain(folder, "--export", "npz", spec=model("deep"))
    assert result.exit_code == 0, result.stderr
    assert [name for name in written(tmp_path / "out") if name.endswith("npz")] == [
        "ct-1_explanation.npz",
        "ct-2_explanation.npz",
    ]
    alone = explain(folder / "99.dcm", "--as", "files", spec=model("deep"), output=tmp_path / "alone")
    one_line(alone, "99.dcm", "it is a 2-D image, and the model takes volumes")
    flat = explain(folder, "--as", "volume", output=tmp_path / "flat")
    assert flat.stderr.count("it is a volume of 3 slices, and the model takes 2-D images: give --as files") == 2


def test_slices_without_endings_are_found(explain: Explain, tmp_path: Path) -> None:
    folder = slices(tmp_path / "ct", [0, 3])
    for path in list(folder.iterdir()):
        path.rename(folder / path.stem)
    (folder / "README").write_text("no image")
    assert explain(folder).exit_code == 0
    assert len(written(tmp_path / "out")) == 6


def test_nifti_in_and_out(explain: Explain, model: Model, tmp_path: Path) -> None:
    path = nifti(tmp_path, LEVELS, "brain.nii.gz")
    sheared = explain(path, "--export", "nifti", spec=model("deep"), output=tmp_path / "sheared")
    one_line(sheared, "brain.nii.gz", "3.8° from perpendicular", "take png or npz")
    nibabel.save(nibabel.Nifti1Image(LEVELS, np.diag([-2.0, 1.5, 3, 1])), path)
    result = explain(path, "--export", "nifti,overlay", spec=model("deep"))
    assert result.exit_code == 0, result.stderr
    made = nibabel.load(tmp_path / "out" / "brain_heatmap.nii.gz")
    assert made.shape == LEVELS.shape
    assert np.array_equal(made.affine, nibabel.load(path).affine)
    with Pillow.open(tmp_path / "out" / "brain_overlay.png") as views:
        assert views.width > views.height
    one = explain(path, "--frame", 4, output=tmp_path / "slice")
    assert one.exit_code == 0, one.stderr


def test_nothing_but_objects_names_the_patient(explain: Explain, tmp_path: Path) -> None:
    path = dicom(tmp_path / "scan.dcm")
    made = pydicom.dcmread(path)
    made.StudyInstanceUID, made.SeriesInstanceUID = "1.2.826.0.1.3680043.1", "1.2.826.0.1.3680043.2"
    made.PatientName = "Doe"  # of one part, which highdicom would doubt, and say
    for index, name in enumerate(PROFILE):
        made.add_new(name, dictionary_VR(name), secret(dictionary_VR(name), index))
    made.save_as(path)
    result = explain(path, "--export", "png,npz,sc,seg,sr,pm")
    assert result.exit_code == 1  # it has no geometry
    secrets = [*IDENTITY, "1.2.826.0.1.3680043", str(made.SOPInstanceUID)]
    secrets += [secret(dictionary_VR(name), index) for index, name in enumerate(PROFILE)]
    for name in written(tmp_path / "out"):
        content = (tmp_path / "out" / name).read_bytes()
        if name.endswith(".dcm"):
            assert b"MRN-4711" in content
        else:
            assert not [secret for secret in secrets if secret.encode() in content], name
    assert not [secret for secret in secrets if secret in result.output + result.stderr]


def test_identity_is_kept_where_it_is_asked_for(explain: Explain, tmp_path: Path) -> None:
    assert explain(dicom(tmp_path / "scan.dcm"), "--keep-identity").exit_code == 0
    identity = json.loads((tmp_path / "out" / "scan_metadata.json").read_text())["identity"]
    assert (identity["PatientName"], identity["PatientID"]) == ("Doe^Jane", "MRN-4711")


def test_pixels_that_name_the_patient_are_warned_of(explain: Explain, tmp_path: Path) -> None:
    made = pydicom.dcmread(ct(tmp_path / "in"))
    made.BurnedInAnnotation = "YES"
    made.save_as(tmp_path / "in" / "scan.dcm")
    result = explain(tmp_path / "in" / "scan.dcm", "--export", "sc")
    one_line(result, "Burned In Annotation", kind="warning")
    assert pydicom.dcmread(tmp_path / "out" / "scan_sc.dcm").BurnedInAnnotation == "YES"


def test_what_was_put_right_is_listed(explain: Explain, tmp_path: Path) -> None:
    (tmp_path / "us.dcm").write_bytes(shipped("ExplVR_BigEnd.dcm").read_bytes())
    assert explain(tmp_path / "us.dcm", "--export", "sr").exit_code == 0
    changes = json.loads((tmp_path / "out" / "us_metadata.json").read_text())["source_changes"]
    assert "StudyTime was invalid, and is put right" in changes


def test_a_window_that_one_file_does_not_have_costs_its_own_result(explain: Explain, tmp_path: Path) -> None:
    ct(tmp_path / "in")
    shutil.copy(shipped("SC_rgb_rle.dcm"), tmp_path / "in" / "colour.dcm")
    result = explain(tmp_path / "in", "--window", "lung", "--batch-size", "1")
    assert result.exit_code == 1
    one_line(result, "colour.dcm", "in colour")
    assert "scan_overlay.png" in written(tmp_path / "out")


def test_a_frame_of_a_series_is_refused(explain: Explain, model: Model, tmp_path: Path) -> None:
    result = explain(slices(tmp_path / "ct", [0, 3]), "--frame", "1", spec=model("deep"))
    assert result.exit_code == 2
    one_line(result, "--as files")


def test_one_time_point_of_a_series_is_chosen(explain: Explain, model: Model, tmp_path: Path) -> None:
    folder = slices(tmp_path / "ct", [0, 3, 6], TemporalPositionIdentifier=1)
    for path in list(folder.iterdir()):
        other = pydicom.dcmread(path)
        other.TemporalPositionIdentifier, other.RescaleIntercept = 2, 500
        other.save_as(folder / f"b{path.name}")
    refused = explain(folder, "--export", "npz", spec=model("deep"))
    assert refused.exit_code == 3
    message = one_line(refused, "6 slices are at the same position", "there are time 1, 2")
    options = shlex.split(re.search(r"give (--select \S+); there are", message)[1])
    result = explain(folder, "--export", "npz", *options, spec=model("deep"))
    assert result.exit_code == 0, result.stderr
    assert "ct_explanation.npz" in written(tmp_path / "out")
    assert "name=value" in one_line(explain(folder, "--select", "time", spec=model("deep")))
    assert "did you mean time" in one_line(explain(folder, "--select", "tim=1", spec=model("deep")))


def test_tuning_takes_the_same_choice(
    pellucid: Callable[..., Result], model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuned.platformdirs, "user_cache_path", lambda name: tmp_path / "cache" / name)
    path = nifti(tmp_path, np.random.default_rng(0).random((6, 7, 8, 3), np.float32))
    command = ("tune", model("deep"), path, "--seconds", 0, "--batch-size", 1, "--size", "6", "--range", "0,1")
    options = shlex.split(re.search(r"give (--select \S+); there are", pellucid(*command).stderr)[1])
    chosen = pellucid(*command, *options)
    assert chosen.exit_code == 0, chosen.stderr
    assert "a series was asked for; it has none" in pellucid(*command, *options, "--series", "7").stderr


def test_one_time_point_of_nifti_is_chosen(explain: Explain, model: Model, tmp_path: Path) -> None:
    path = nifti(tmp_path, np.random.default_rng(0).random((6, 7, 8, 3), np.float32))
    message = one_line(explain(path, "--export", "npz", spec=model("deep")), "it holds 3 volumes")
    options = shlex.split(re.search(r"give (--select \S+); there are", message)[1])
    result = explain(path, "--export", "npz", *options, spec=model("deep"))
    assert result.exit_code == 0, result.stderr


def test_one_series_of_a_mixed_folder_is_chosen(explain: Explain, model: Model, tmp_path: Path) -> None:
    folder = slices(tmp_path / "ct", [0, 3, 6], SeriesNumber=4)
    for path in list(folder.iterdir()):
        other = pydicom.dcmread(path)
        other.SeriesInstanceUID, other.SeriesNumber = "1.2.3", 5
        other.save_as(folder / f"b{path.name}")
    for number, series in enumerate(("1.2.3", "5")):
        out = tmp_path / f"out{number}"
        result = explain(folder, "--export", "npz", "--series", series, spec=model("deep"), output=out)
        assert result.exit_code == 0, result.stderr
        assert [name for name in written(out) if name.endswith("npz")] == ["ct_explanation.npz"]
    files = explain(folder, "--export", "npz", "--series", "4", "--as", "files", output=tmp_path / "files")
    assert sorted(name for name in written(tmp_path / "files") if name.endswith("npz")) == [
        f"{name}_explanation.npz" for name in ("97", "98", "99")
    ], files.stderr
    one_line(explain(folder, "--series", "6"), "its series have the numbers 4, 5: give one of them")
    channels = explain(folder, "--series", "4", "--channels", "a.dcm,b.dcm")
    one_line(channels, "a channel is a folder: leave out --series")


def test_a_series_by_content_is_the_same_from_the_command_line(explain: Explain, model: Model, tmp_path: Path) -> None:
    folder = slices(tmp_path / "ct", [0, 3, 6])
    for index, path in enumerate(sorted(folder.iterdir())):
        path.rename(folder / f"X.MR.{index:04}.IMA")
    (folder / "notes.txt").write_text("no image")
    result = explain(folder, "--export", "nifti", spec=model("deep"))
    assert result.exit_code == 0
    assert result.stderr.splitlines()[0] == f"warning: {folder}: 1 file that holds no image was skipped: notes.txt"
    assert nibabel.load(tmp_path / "out" / "ct_heatmap.nii.gz").shape == (12, 10, 3)
