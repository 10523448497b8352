"""Drafts: a process that is killed while it moves files leaves what was there before, once the next one has swept."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pellucid.errors import WriteError
from pellucid.export.drafts import held, sweep
from pellucid.export.writing import write

LATER = {"a_x.png": "4", "a_z.png": "5", "a_metadata.json": "6"}
SCRIPT = """
import json, os, sys
from pathlib import Path
from pellucid.export.writing import write

number, output, files, earlier = json.loads(sys.argv[1])
steps = []

def stepping(step):
    def counted(*arguments, **options):
        if len(steps) == number:
            os._exit(9)
        steps.append(1)
        return step(*arguments, **options)
    return counted

Path.replace, Path.unlink = stepping(Path.replace), stepping(Path.unlink)
write(Path(output), {name: text.encode() for name, text in files.items()}, False, lambda: earlier)
"""


def content(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


@pytest.mark.parametrize(("earlier", "steps"), [({}, 4), ({"a_x.png": "1", "a_y.png": "2", "a_metadata.json": "3"}, 7)])
def test_a_process_that_is_killed_between_two_steps_leaves_what_was_there(
    tmp_path: Path, earlier: dict[str, str], steps: int
) -> None:
    """A step is a move, or the removal of the journal."""
    for number in range(steps + 1):
        output = tmp_path / str(number)
        output.mkdir()
        for name, text in earlier.items():
            (output / name).write_text(text)
        given = json.dumps([number, str(output), LATER, list(earlier)])
        done = subprocess.run([sys.executable, "-c", SCRIPT, given], check=False, timeout=120)
        assert done.returncode == (9 if number < steps else 0)
        assert len(list(output.glob(".part-*"))) == (number < steps)
        sweep(output)
        assert content(output) == (earlier if number < steps else LATER)


def test_who_sweeps_may_be_killed_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drafts = tmp_path / ".part-abcd1234"
    drafts.mkdir()
    names = list(LATER)
    for name in names:
        (tmp_path / name).write_text(LATER[name])
    (drafts / "earlier-0").write_text("1")
    (drafts / "journal").write_text(json.dumps({"names": names, "earlier": names[:1]}))
    whole = Path.replace

    def failing(path: Path, target: Path) -> Path:
        if next(fails):
            raise OSError("killed")
        return whole(path, target)

    monkeypatch.setattr(Path, "replace", failing)
    for _ in range(3):
        fails = iter([False, True])
        sweep(tmp_path)
        assert drafts.exists()
    fails = iter([False])
    sweep(tmp_path)
    assert content(tmp_path) == {names[0]: "1"}


def test_a_journal_from_elsewhere_moves_nothing_out(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("mine")
    for number, text in enumerate(
        [
            json.dumps({"names": ["../outside"], "earlier": []}),
            json.dumps({"names": [str(outside)], "earlier": []}),
            json.dumps({"names": [1], "earlier": {}}),
            "[" * 100_000,
            "",
        ]
    ):
        drafts = tmp_path / "out" / f".part-abcd123{number}"
        drafts.mkdir(parents=True)
        (drafts / "journal").write_text(text)
        sweep(tmp_path / "out")
        assert outside.read_text() == "mine"
        assert not drafts.exists()


def test_a_folder_is_never_moved_aside(tmp_path: Path) -> None:
    (tmp_path / "a_x.png" / "deep").mkdir(parents=True)
    with pytest.raises(WriteError, match=r"a_x\.png is a folder"):
        write(tmp_path, {name: text.encode() for name, text in LATER.items()}, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["a_x.png"]
    assert (tmp_path / "a_x.png" / "deep").is_dir()


def test_who_holds_a_folder_for_too_long_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pellucid.export.drafts._PATIENCE", 0.0)
    with held(tmp_path), pytest.raises(WriteError, match="another process is writing there"):
        write(tmp_path, {"a": b"1"}, overwrite=False)
    write(tmp_path, {"a": b"1"}, overwrite=False)
    assert content(tmp_path) == {"a": "1"}


def test_earlier_files_come_back_after_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a_x.png").write_text("1")
    (tmp_path / "a_y.png").write_text("2")
    whole = Path.replace

    def failing(path: Path, target: Path) -> Path:
        if target == tmp_path / "a_metadata.json":
            raise OSError("refused")
        return whole(path, target)

    monkeypatch.setattr(Path, "replace", failing)
    with pytest.raises(WriteError):
        write(tmp_path, {name: text.encode() for name, text in LATER.items()}, True, lambda: ["a_y.png"])
    assert content(tmp_path) == {"a_x.png": "1", "a_y.png": "2"}
