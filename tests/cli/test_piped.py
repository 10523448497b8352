"""``pellucid explain -``: an image on standard input, within bounds, and nothing of it left."""

from __future__ import annotations

import errno
import io
import json
import os
import pty
import tempfile
from collections.abc import Callable
from pathlib import Path

import pydicom.data
import pytest
from typer.testing import CliRunner, Result

from pellucid.cli import piped
from pellucid.cli.main import app
from pellucid.errors import ImageError
from tests.cli.conftest import one_line, save

Run = Callable[..., Result]


@pytest.fixture
def pipe(model: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """``pellucid explain -`` with bytes on standard input."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))

    def run(content: bytes, *arguments: str) -> Result:
        words = ["explain", "-", "--model", model("make"), "--output", str(tmp_path / "out"), *arguments]
        result = CliRunner().invoke(app, words, input=content)
        assert not list((tmp_path / "temporary").iterdir())
        assert str(tmp_path / "temporary") not in result.output
        return result

    return run


def test_the_results_are_those_of_the_file(pipe: Run, explain: Run, tmp_path: Path) -> None:
    file = save(tmp_path / "scan.png")
    done = pipe(file.read_bytes(), "--json")
    assert (done.exit_code, done.stderr) == (0, "")
    assert json.loads(done.stdout)["images"][0]["image"] == "stdin"
    assert explain(file, output=tmp_path / "other").exit_code == 0
    for name in ("overlay.png", "heatmap.png"):
        assert (tmp_path / "out" / f"stdin_{name}").read_bytes() == (tmp_path / "other" / f"scan_{name}").read_bytes()
    facts = json.loads((tmp_path / "out" / "stdin_metadata.json").read_text())
    assert facts["image"] == "stdin"


def test_the_format_is_known_by_the_content(pipe: Run, tmp_path: Path) -> None:
    scan = Path(pydicom.data.get_testdata_file("CT_small.dcm", download=False))
    assert pipe(scan.read_bytes(), "--export", "sc", "--window", "lung").exit_code == 0
    assert (tmp_path / "out" / "stdin_sc.dcm").is_file()


@pytest.mark.parametrize(
    ("content", "part"), [(b"", "it is empty"), (b"\x89PNG\r\n", "it is broken"), (b"hello" * 99, "it is broken")]
)
def test_what_is_no_image_fails(pipe: Run, content: bytes, part: str) -> None:
    done = pipe(content, "--quiet")
    assert done.exit_code == 3
    one_line(done, "cannot read stdin: ", part)


def test_no_more_is_read_than_the_bound(pipe: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(piped, "MAX_BYTES", 3_000_000)
    done = pipe(bytes(10_000_000), "--quiet")
    assert done.exit_code == 3
    one_line(done, "cannot read stdin: it has more than 3,000,000 bytes: give the file's path")
    content = io.BytesIO(bytes(10_000_000))
    with pytest.raises(ImageError):
        piped._copy(content, io.BytesIO())
    assert content.tell() == 3_000_001


def test_a_full_disk_is_one_line(pipe: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(piped, "_copy", full)
    done = pipe(b"", "--quiet")
    assert done.exit_code == 3
    one_line(done, "cannot be kept in the temporary folder (No space left on device)", "set TMPDIR")


def test_a_server_beside_it_is_refused(pipe: Run) -> None:
    done = pipe(b"", "dicomweb://archive.example.org/studies/1.2")
    assert done.exit_code == 2
    one_line(done, "in a run of its own")


def test_other_files_may_stand_beside_it(pipe: Run, tmp_path: Path) -> None:
    done = pipe(save(tmp_path / "scan.png").read_bytes(), str(tmp_path / "scan.png"))
    assert done.exit_code == 0
    assert sorted(path.name for path in (tmp_path / "out").glob("*_overlay.png")) == [
        "scan_overlay.png", "stdin_overlay.png"
    ]  # fmt: skip


def test_a_terminal_is_not_waited_for(
    model: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ours, terminal = pty.openpty()
    with os.fdopen(terminal) as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        with pytest.raises(SystemExit) as ended:
            app(["explain", "-", "--model", model("make"), "-o", str(tmp_path / "out")])
    os.close(ours)
    assert ended.value.code == 2
    assert "nothing is piped into it: write cat scan.png | pellucid explain - …" in capsys.readouterr().err
