"""What is left when a process ends: no file of a patient's in a temporary folder, no draft, no path in a message."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import Result

from pellucid.export.drafts import sweep
from pellucid.export.writing import write
from pellucid.pacs.pushing import objects
from tests.cli.conftest import command
from tests.pacs import hostile as tricks
from tests.pacs.hostile import INSTANCE, SERIES, STUDY, Exchange, an_object, answer, hostile, matches, parts, retrieved

Command = Callable[..., Result]
WAITING = 60


@contextmanager
def archive(trick: tricks.Trick) -> Iterator[str]:
    """A study of two images, of which the second is retrieved as a trick has it."""
    first, second = INSTANCE, f"{INSTANCE}1"

    def respond(one: Exchange, stop: threading.Event) -> None:
        if "?" in one.path:
            answer("200 OK", matches([first, second]))(one, stop)
        elif second in one.path:
            trick(one, stop)
        else:
            retrieved(parts(an_object()))(one, stop)

    tricks.HONEST["store"]["a study"] = respond
    with hostile("store", "a study") as server:
        yield f"dicomweb+http://127.0.0.1:{server.port}/rs/studies/{STUDY}/series/{SERIES}"


@contextmanager
def started(arguments: list[str], folder: Path) -> Iterator[subprocess.Popen[str]]:
    """The command line as a process of its own, whose temporary folders are in a folder; killed if it does not end.

    It gets signals as in a terminal: under nohup, and in the background of a shell, some are ignored by all that
    is started.
    """
    folder.mkdir()
    with subprocess.Popen(
        command(*arguments),
        env={**os.environ, "TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_with_default_signals,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _with_default_signals() -> None:
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + WAITING
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT"])
def test_fetched_files_are_removed(name: str, model: Callable[..., str], tmp_path: Path) -> None:
    number = getattr(signal, name)
    with archive(tricks.silent) as address:
        arguments = ["explain", address, "--model", model("make"), "-o", str(tmp_path / "out")]
        with started(arguments, tmp_path / "temporary") as process:
            wait_for(lambda: bool(list((tmp_path / "temporary").rglob("0001.dcm"))))
            process.send_signal(number)
            _, errors = process.communicate(timeout=WAITING)
    assert process.returncode == (130 if name == "SIGINT" else -number), errors
    assert list((tmp_path / "temporary").rglob("*.dcm")) == []
    assert "Traceback" not in errors


def test_an_ignored_signal_stays_ignored_and_handlers_stay_a_users() -> None:
    script = (
        "import signal, pellucid.cli.main, pellucid.pacs.dicomweb\n"
        "assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "from pellucid.cli.ending import ended_by_signals\n"
        "with ended_by_signals():\n"
        "    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN\n"
        "    assert signal.getsignal(signal.SIGTERM) != signal.SIG_DFL\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_repeated_signal_does_not_stop_the_clean_up() -> None:
    script = (
        "import os, signal\n"
        "from pellucid.cli.ending import ended_by_signals\n"
        "with ended_by_signals():\n"
        "    try:\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "    finally:\n"
        "        os.kill(os.getpid(), signal.SIGHUP)\n"
        "        print('cleaned', flush=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (-signal.SIGTERM, "cleaned\n")


def test_temporary_folders_are_not_shown(pellucid: Command, model: Callable[..., str], tmp_path: Path) -> None:
    broken = an_object(instance=f"{INSTANCE}1")[:-20_000]
    arguments = ["--model", model("make"), "-o", tmp_path / "out"]
    for options in ([], ["--json"]):
        with archive(retrieved(parts(broken))) as address:
            result = pellucid("explain", address, *arguments, "--overwrite", *options)
        assert result.exit_code == 1
        assert "error: cannot read series-1/0002.dcm: " in result.stderr
        assert "series-1/0001.dcm" in result.stdout
        assert "pellucid-" not in result.stdout + result.stderr
    facts = json.loads((tmp_path / "out" / "series-1" / "0001_metadata.json").read_text())
    assert facts["image"] == "series-1/0001.dcm"
    with archive(answer("404 Not Found")) as address:
        result = pellucid("explain", address, *arguments)
    assert result.exit_code == 3
    assert "pellucid-" not in result.stderr


def a_draft(folder: Path, name: str = ".part-abcd1234") -> Path:
    (folder / name).mkdir(parents=True)
    (folder / name / "0").write_bytes(an_object())
    return folder / name


def test_drafts_are_neither_sent_nor_kept(tmp_path: Path) -> None:
    write(tmp_path / "a", {"x.dcm": an_object()}, overwrite=False)
    left = [a_draft(tmp_path), a_draft(tmp_path / "a")]
    own = [a_draft(tmp_path, ".part-of-mine"), a_draft(tmp_path, ".part-abcd9999")]
    (own[1] / "notes.txt").write_text("a user's")
    assert objects(tmp_path) == [tmp_path / "a" / "x.dcm"]
    assert not any(path.exists() for path in left)
    assert all((path / "0").exists() for path in own)


def test_drafts_of_a_running_process_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[Path]] = []
    replace = Path.replace

    def swept_meanwhile(self: Path, target: Path) -> Path:
        sweep(tmp_path)
        seen.append(list(tmp_path.glob(".part-*")))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", swept_meanwhile)
    write(tmp_path, {"a": b"1", "b": b"2"}, overwrite=False)
    assert [len(found) for found in seen] == [1, 1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_a_draft_that_is_swept_before_it_is_locked_is_begun_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, times = os.open, []

    def opened(path: Path, *arguments: int, dir_fd: int | None = None) -> int:
        if Path(path).name.startswith(".part-") and not times:
            times.append(1)
            Path(path).rmdir()
        return real(path, *arguments, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", opened)
    write(tmp_path, {"a": b"1"}, overwrite=False)
    assert times == [1]
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_links_are_not_followed(tmp_path: Path) -> None:
    outside = a_draft(tmp_path / "outside")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".part-abcd1234").symlink_to(outside)
    sweep(tmp_path / "out")
    assert (outside / "0").exists()
