"""A real archive: store, query, retrieve, explain, store the results, read them back, by DICOMweb and DIMSE.

Orthanc listens on every interface, so it is started where there is only loopback: ``make test-pacs``.
"""

from __future__ import annotations

import io
import json
import shlex
import shutil
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import highdicom
import pydicom
import pytest
from pydicom.uid import generate_uid
from typer.testing import Result

from pellucid.io import read_image
from pellucid.pacs.access import ServerAccess
from pellucid.pacs.dicomweb import parse_resource
from tests.cli.conftest import one_line, written
from tests.export.dicom import SHIPPED
from tests.pacs.archive import DICOM, PATIENCE, archive, needed
from tests.test_docs import ROOT, blocks, lines_of

Command = Callable[..., Result]

pytestmark = needed("test-pacs")


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an empty archive's DICOMweb service."""
    with archive(tmp_path_factory.mktemp("orthanc")) as address:
        yield address


@pytest.fixture
def study(tmp_path: Path) -> tuple[Path, str]:
    """A folder with a series of three slices, and its study's UID."""
    folder = tmp_path / "study"
    folder.mkdir()
    study, series = generate_uid(), generate_uid()
    for index in range(3):
        made = pydicom.dcmread(SHIPPED["CT_small.dcm"])
        left, top, level = made.ImagePositionPatient
        made.ImagePositionPatient = [left, top, float(level) + 5 * index]
        made.StudyInstanceUID, made.SeriesInstanceUID, made.InstanceNumber = study, series, index + 1
        made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        made.save_as(folder / f"{index}.dcm")
    return folder, str(study)


def at(url: str, study: str) -> str:
    """What ``pellucid explain`` calls a study."""
    return f"{url.replace('http', 'dicomweb+http', 1)}/studies/{study}"


def kinds(url: str, study: str) -> list[str]:
    """The modalities of what the archive holds of a study."""
    with urllib.request.urlopen(f"{url}/studies/{study}/instances?includefield=Modality", timeout=PATIENCE) as response:
        found = json.loads(response.read())
    return sorted(one["00080060"]["Value"][0] for one in found)


@pytest.mark.parametrize("way", ["dicomweb", "dimse"])
def test_from_pacs_to_pacs(
    way: str,
    orthanc: str,
    study: tuple[Path, str],
    pellucid: Command,
    model: Callable[..., str],
    tmp_path: Path,
) -> None:
    folder, uid = study
    to = ["--dicomweb", orthanc] if way == "dicomweb" else ["--dicom", f"127.0.0.1:{DICOM}", "--aec", "ORTHANC"]
    stored = pellucid("push", folder, *to)
    assert (stored.exit_code, stored.stdout) == (0, "3 sent\n"), stored.stderr
    address = at(orthanc, uid)
    explained = pellucid(
        "explain", address, "--model", model("make"), "--output", tmp_path / "out", "--export", "sc,seg,pm,sr,png",
        "--download", tmp_path / "kept", "--target", "all",
    )  # fmt: skip
    assert explained.exit_code == 0, explained.stderr
    assert written(tmp_path / "kept") == [f"series-1/{index:04}.dcm" for index in (1, 2, 3)]
    for index in range(3):
        original, fetched = folder / f"{index}.dcm", tmp_path / "kept" / "series-1" / f"{index + 1:04}.dcm"
        assert bool((read_image(original).values == read_image(fetched).values).all())
    sent = pellucid("push", tmp_path / "out", *to)
    assert sent.exit_code == 0, sent.stderr
    assert kinds(orthanc, uid) == sorted(["CT"] * 3 + ["OT"] * (3 * 4 + 3 * 4) + ["SEG"] * 3 + ["SR"] * 3)
    again = pellucid("push", tmp_path / "out", *to)
    assert "0 sent, 30 sent before" in again.stdout
    _check_as_stored(address, tmp_path / "out")


def _check_as_stored(address: str, results: Path) -> None:
    """What the archive gives back is what was sent."""
    for ending, read, pixels in (
        ("seg", highdicom.seg.segread, "PixelData"),
        ("pm", highdicom.imread, "FloatPixelData"),
    ):
        sent = read(min((results / "series-1").glob(f"0001_*{ending}.dcm")))
        series, instance = str(sent.SeriesInstanceUID), str(sent.SOPInstanceUID)
        back = pydicom.dcmread(io.BytesIO(parse_resource(address, ServerAccess()).retrieve(series, instance)))
        assert back[pixels].value == sent[pixels].value
        assert back.PatientName == sent.PatientName


def test_the_pages_commands(
    orthanc: str, study: tuple[Path, str], pellucid: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, uid = study
    assert pellucid("push", folder, "--dicomweb", orthanc).exit_code == 0
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "pacs.md").read_text(encoding="utf-8")
    commands = [line for block in blocks(page, "sh") for line in lines_of(block)]
    assert len(commands) == 4
    for line in commands:
        for shown, here in (
            ("dicomweb://pacs.example.org/dicom-web", orthanc.replace("http", "dicomweb+http", 1)),
            ("https://pacs.example.org/dicom-web", orthanc),
            ("pacs.example.org:104", f"127.0.0.1:{DICOM}"),
            ("1.2.840.99999.1", uid),
        ):
            line = line.replace(shown, here)
        result = pellucid(*shlex.split(line)[1:])
        assert result.exit_code == 0, (line, result.stderr)
    assert kinds(orthanc, uid).count("SEG") == 3  # the same of both runs are the same to the archive


def test_a_volume_from_a_series(
    orthanc: str,
    study: tuple[Path, str],
    pellucid: Command,
    model: Callable[..., str],
    tmp_path: Path,
) -> None:
    folder, uid = study
    assert pellucid("push", folder, "--dicomweb", orthanc).exit_code == 0
    address = at(orthanc, uid)
    result = pellucid("explain", address, "--model", model("deep"), "--output", tmp_path / "out", "--export", "seg,pm")
    assert result.exit_code == 0, result.stderr
    assert pydicom.dcmread(tmp_path / "out" / "series-1_pm.dcm").NumberOfFrames == 3
    assert pellucid("push", tmp_path / "out", "--dicomweb", orthanc).exit_code == 0


def test_fetching_goes_on_where_it_ended(
    orthanc: str,
    study: tuple[Path, str],
    pellucid: Command,
    model: Callable[..., str],
    tmp_path: Path,
) -> None:
    folder, uid = study
    pellucid("push", folder, "--dicomweb", orthanc)
    address = at(orthanc, uid)
    arguments = ["--model", model("make"), "--download", tmp_path / "kept", "--overwrite", "-o", tmp_path / "out"]
    assert pellucid("explain", address, *arguments).exit_code == 0
    kept = sorted((tmp_path / "kept" / "series-1").iterdir())
    stamps = [path.stat().st_ino for path in kept]
    kept[1].write_bytes(b"half")
    assert pellucid("explain", address, *arguments).exit_code == 0
    now = [path.stat().st_ino for path in kept]
    assert (now[0], now[2]) == (stamps[0], stamps[2])
    assert now[1] != stamps[1]


def test_what_is_not_there(orthanc: str, pellucid: Command, model: Callable[..., str], tmp_path: Path) -> None:
    address = at(orthanc, "1.2.3")
    result = pellucid("explain", address, "--model", model("make"), "-o", tmp_path / "out")
    assert result.exit_code == 3
    assert "1.2.3" not in one_line(result, "no image was found at this address")


@pytest.mark.parametrize("tool", ["dcmdump"])
def test_dcmtk_reads_all_objects(
    tool: str,
    study: tuple[Path, str],
    pellucid: Command,
    model: Callable[..., str],
    tmp_path: Path,
) -> None:
    if shutil.which(tool) is None:
        pytest.skip("dcmtk is not installed: make test-pacs")
    folder, _ = study
    result = pellucid(
        "explain", folder / "0.dcm", "--model", model("make"), "-o", tmp_path / "out", "--export", "sc,seg,pm,sr"
    )
    assert result.exit_code == 0, result.stderr
    for path in sorted((tmp_path / "out").glob("*.dcm")):
        done = subprocess.run([tool, path], capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
        assert not done.stderr, done.stderr
