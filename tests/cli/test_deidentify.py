"""``pellucid explain --deidentify``: results without identity, the same ones for the same key, and wrong use."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from pydicom.datadict import dictionary_VR
from typer.testing import Result

from tests.cli.conftest import one_line
from tests.cli.test_explain import dicom
from tests.cli.test_medical import PROFILE, secret

Explain = Callable[..., Result]


@pytest.fixture
def named(tmp_path: Path) -> tuple[Path, list[str]]:
    """A file whose attributes identify a patient, and what must not be found."""
    (tmp_path / "doe").mkdir()
    path = dicom(tmp_path / "doe" / "scan.dcm")
    made = pydicom.dcmread(path)
    made.StudyInstanceUID, made.SeriesInstanceUID = "1.2.826.0.1.3680043.1", "1.2.826.0.1.3680043.2"
    for index, name in enumerate(PROFILE):
        made.add_new(name, dictionary_VR(name), secret(dictionary_VR(name), index))
    made.StudyDate = "20240229"
    made.save_as(path)
    secrets = [secret(dictionary_VR(name), index) for index, name in enumerate(PROFILE)]
    uids = [str(made[name].value) for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")]
    return path, [*secrets, *uids, "Doe", "MRN-4711", "19500101", "20240229", "ACC123", "/doe/"]


def test_no_result_names_the_patient(explain: Explain, named: tuple[Path, list[str]], tmp_path: Path) -> None:
    path, secrets = named
    result = explain(path, "--export", "png,npz,sc,sr", "--deidentify")
    assert result.exit_code == 0, result.stderr
    written = sorted((tmp_path / "out").iterdir())
    assert len(written) == 8  # with the page and the table of all results
    for file in written:
        assert not [text for text in secrets if text.encode() in file.read_bytes()], file
    assert json.loads((tmp_path / "out" / "scan_metadata.json").read_text())["image"] == "scan.dcm"


def test_runs_with_the_same_key_replace_alike(explain: Explain, named: tuple[Path, list[str]], tmp_path: Path) -> None:
    (tmp_path / "key").write_text("a secret of the clinic\n")
    found = []
    for number, options in enumerate(
        (["--deidentify-key", tmp_path / "key"], ["--deidentify-key", tmp_path / "key"], [])
    ):
        output = tmp_path / f"out{number}"
        assert explain(named[0], "--export", "sc", "--deidentify", *options, output=output).exit_code == 0
        made = pydicom.dcmread(output / "scan_sc.dcm")
        found.append((made.PatientID, made.PatientName, made.StudyInstanceUID, made.StudyDate, made.SOPInstanceUID))
    assert found[0] == found[1]
    assert not set(found[0]) & set(found[2])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--deidentify", "--keep-identity"], "give one of them"),
        (["--deidentify-key", "KEY"], "give --deidentify, too"),
        (["--deidentify", "--deidentify-key", "none"], "cannot be read"),
        (["--deidentify", "--deidentify-key", "KEY"], "has 5 bytes: give at least 16"),
    ],
)
def test_wrong_use(
    explain: Explain, named: tuple[Path, list[str]], tmp_path: Path, options: list[str], words: str
) -> None:
    (tmp_path / "key").write_text("short")
    result = explain(named[0], *(str(tmp_path / "key") if one == "KEY" else one for one in options))
    assert result.exit_code == 2
    one_line(result, words)
