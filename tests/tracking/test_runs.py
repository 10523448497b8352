"""Runs are written to the disk first, sent by a thread, and the rest by ``sync``, each entry once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from pellucid.errors import DataError, PellucidWarning
from pellucid.tracking import journaled as journaled_module
from pellucid.tracking.contents import LoggedFile, Metrics
from pellucid.tracking.destination import DESTINATIONS
from pellucid.tracking.journal import JOURNAL, Reader
from pellucid.tracking.journaled import JournaledRun, journaled
from pellucid.tracking.ledger import Ledger
from pellucid.tracking.syncing import journals, sync
from tests.tracking.fakes import SERVICES, Memory, Service


@pytest.fixture
def service(request: pytest.FixtureRequest) -> Iterator[Service]:
    """A service, and a destination of its name that ``sync`` finds."""
    DESTINATIONS.load()
    DESTINATIONS.classes["memory"] = Memory
    SERVICES[request.node.name] = Service()
    yield SERVICES[request.node.name]
    SERVICES[request.node.name].is_down = False
    del SERVICES[request.node.name], DESTINATIONS.classes["memory"]


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing waits a tenth of a second."""
    monkeypatch.setattr(journaled_module, "PATIENCE", 0.1)


def filled(run: JournaledRun, folder: Path) -> None:
    """One entry of each kind, and a run within."""
    run.parameters({"method": "gradcam", "layers": 2})
    run.parameters({"method": "saliency"})  # a name keeps its first value
    run.metrics({"drift": 0.5, "nothing": float("nan")}, step=3)
    run.image("0/nodule", Image.new("RGB", (8, 8), "red"), 3)
    (folder / "report.html").write_text("page")
    run.file(folder / "report.html", "report")
    child = run.child("saliency")
    child.metrics({"hits": 1.0})


def entries(service: Service, run: JournaledRun) -> list[tuple[str, ...]]:
    """What was received of the outermost run, without its id."""
    return [(one[0], *one[2:]) for one in service.received if one[1] in (run.id, f"id-{run.id}")]


EXPECTED = [
    ("begin", "night"),
    ("parameter", "method", "gradcam"),
    ("parameter", "layers", "2"),
    ("metric", "drift", "0.5", "3"),
    ("image", "0/nodule", "3"),
    ("file", "report.html", "report", "page"),
    ("end", "FINISHED"),
]


def test_everything_is_sent_in_order_by_another_thread(
    service: Service, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    run = journaled(tmp_path / "runs", "night", [Memory(request.node.name)])
    filled(run, tmp_path)
    run.close()
    run.metrics({"late": 1.0})  # a closed run takes nothing
    assert entries(service, run) == EXPECTED
    assert threading.get_ident() not in service.threads
    (child,) = (one for one, (name, _) in service.runs.items() if name == "saliency")
    assert service.runs[child][1] == f"id-{run.id}"
    assert ("metric", child, "hits", "1.0", "0") in service.received
    assert ("end", child, "FINISHED") in service.received
    assert not any("nothing" in one or "late" in one for one in service.received)


def test_what_a_server_does_not_take_is_kept_and_sent_once(
    service: Service, tmp_path: Path, request: pytest.FixtureRequest, short: None
) -> None:
    service.is_down = True
    run = journaled(tmp_path / "runs", "night", [Memory(request.node.name)])
    filled(run, tmp_path)
    (tmp_path / "report.html").write_text("changed afterwards")  # the copy is what was logged
    with pytest.warns(PellucidWarning, match=r"connection refused.*pellucid mlflow sync"):
        run.close()
    wait_for_senders()
    assert service.received == []
    service.is_down = False
    (first,) = sync(tmp_path)
    assert (first.error, first.refused, first.sent) == ("", 0, 9)
    assert entries(service, run) == EXPECTED
    (second,) = sync(tmp_path)
    assert second.sent == 0
    assert entries(service, run) == EXPECTED


def test_a_hanging_server_delays_no_call(
    service: Service, tmp_path: Path, request: pytest.FixtureRequest, short: None
) -> None:
    service.gate = threading.Event()
    run = journaled(tmp_path / "runs", "night", [Memory(request.node.name)])
    filled(run, tmp_path)
    assert service.received == []
    with pytest.warns(PellucidWarning, match="it takes too long"):
        run.close()  # gives up after the patience
    (held,) = sync(tmp_path)
    assert "another process is sending" in held.error
    service.gate.set()
    wait_for_senders()
    assert sum(one.sent for one in sync(tmp_path)) == 8  # the one that hung was taken by the server itself
    assert entries(service, run) == EXPECTED


def wait_for_senders() -> None:
    """Wait until no thread sends."""
    for thread in threading.enumerate():
        if thread.name == "pellucid-memory":
            thread.join(30)


def test_a_refused_entry_does_not_hold_up_the_others(
    service: Service, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    service.refuses = "image"
    run = journaled(tmp_path / "runs", "night", [Memory(request.node.name)])
    filled(run, tmp_path)
    with pytest.warns(PellucidWarning, match="refused 1 entries of the run, the first is number 4"):
        run.close()
    assert entries(service, run) == [one for one in EXPECTED if one[0] != "image"]
    assert [one.sent for one in sync(tmp_path)] == [0]


def test_no_call_of_the_run_connects(tmp_path: Path) -> None:
    """The calling thread makes no connection, whatever the server does: counted by an audit hook of the process."""
    script = f"""
import sys, threading, warnings, mlflow as known  # as in a training whose process has imported it
from pathlib import Path
from PIL import Image
calls = []
sys.addaudithook(lambda name, _: calls.append((name, threading.get_ident())) if name.startswith("socket.") else None)
warnings.simplefilter("ignore")
from pellucid.tracking import journaled as module, mlflow
module.PATIENCE = 5.0
run = mlflow("http://127.0.0.1:9", folder={str(tmp_path / "runs")!r})
for step in range(20):
    run.metrics({{"drift": 0.5}}, step)
    run.image("a", Image.new("L", (4, 4)), step)
run.close()
own = [name for name, thread in calls if thread == threading.get_ident() and name == "socket.connect"]
others = [name for name, thread in calls if thread != threading.get_ident() and name == "socket.connect"]
print(len(own), len(others) > 0)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.split() == ["0", "True"], done.stderr
    (folder,) = journals(tmp_path)
    assert sum(isinstance(one.content, Metrics) for one in Reader(folder).entries()) == 20


def test_a_killed_process_leaves_a_readable_journal(
    service: Service, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    run = journaled(tmp_path / "runs", "night", [])
    run.metrics({"drift": 0.5})
    with (run.folder / JOURNAL).open("ab") as file:
        file.write(b'{"number": 3, "run": "x", "ti')  # torn
    header, rest = (run.folder / JOURNAL).read_text().split("\n", 1)
    found = json.loads(header) | {"destinations": [["memory", {"service": request.node.name}]]}
    (run.folder / JOURNAL).write_text(f"{json.dumps(found)}\n{rest}")
    assert [one.sent for one in sync(tmp_path)] == [2]
    assert entries(service, run) == [("begin", "night"), ("metric", "drift", "0.5", "0")]


def test_a_journal_names_no_file_elsewhere(service: Service, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """A journal from elsewhere is hostile: it must not have other files of the disk sent."""
    (tmp_path / "secret.txt").write_text("secret")
    run = journaled(tmp_path / "runs", "night", [])
    for name in ("../../secret.txt", str(tmp_path / "secret.txt"), "..", ""):
        run._recording.add(run.id, lambda _, name=name: LoggedFile("secret.txt", "", name))
    found = [one.content for one in Reader(run.folder).entries()]
    assert not any(isinstance(one, LoggedFile) for one in found)


def test_lines_that_are_no_entries_are_left_out(tmp_path: Path) -> None:
    run = journaled(tmp_path, "night", [])
    with (run.folder / JOURNAL).open("ab") as file:
        for line in (b"[]", b"null", b'{"number": "x"}', b"\xff", b"[" * 100_000, b'{"number": 9, "kind": "nothing"}'):
            file.write(line + b"\n")
    run.metrics({"drift": 1.0})
    assert [one.number for one in Reader(run.folder).entries()] == [1, 2]


def test_a_folder_without_runs(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no run was logged there"):
        list(sync(tmp_path))
    run = journaled(tmp_path, "night", [])
    (run.folder / JOURNAL).write_text('{"format": "pellucid-run-1", "destinations": [["elsewhere", {}]]}\n')
    with pytest.raises(DataError, match="its destination is not known here"):
        list(sync(tmp_path))
    (run.folder / JOURNAL).write_text("nothing")
    with pytest.raises(DataError, match="no journal of a run"):
        list(sync(tmp_path))


def test_links_are_not_followed(tmp_path: Path) -> None:
    journaled(tmp_path / "elsewhere", "night", [])
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "link").symlink_to(tmp_path / "elsewhere")
    assert journals(tmp_path / "own") == []


def test_a_disk_that_is_full_ends_no_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = journaled(tmp_path, "night", [])
    write = os.write

    def full(file: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.warns(PellucidWarning, match=r"not everything of the run is kept \(No space left on device\)"):
        run.metrics({"drift": 1.0})
    run.metrics({"drift": 2.0})  # said once
    monkeypatch.setattr(os, "write", write)
    run.metrics({"drift": 3.0})
    values = [one.content.values for one in Reader(run.folder).entries() if isinstance(one.content, Metrics)]
    assert values == [{"drift": 3.0}]


def test_two_that_send_at_once_do_not_double(service: Service, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    run = journaled(tmp_path, "night", [])
    with Ledger(run.folder, Memory(request.node.name)), pytest.raises(BlockingIOError):
        Ledger(run.folder, Memory(request.node.name))


def test_closing_waits_no_longer_than_stated(
    service: Service, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wait is in all, not for each destination: counted by the clock that the code asks, which is moved by hand."""
    service.gate = threading.Event()
    waited: list[float] = []
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    run = journaled(tmp_path, "night", [Memory(request.node.name), Memory(request.node.name + "")])

    def join(_self: threading.Thread, timeout: float | None = None) -> None:
        waited.append(timeout or 0.0)
        now[0] += timeout or 0.0

    monkeypatch.setattr(threading.Thread, "join", join)
    with pytest.warns(PellucidWarning, match="pellucid mlflow sync"):
        run.close()
    monkeypatch.undo()
    service.gate.set()
    assert sum(waited) <= 5.0
    wait_for_senders()


def test_a_file_that_is_gone_does_not_hold_up_the_rest(
    service: Service, tmp_path: Path, request: pytest.FixtureRequest, short: None
) -> None:
    service.is_down = True
    run = journaled(tmp_path / "runs", "night", [Memory(request.node.name)])
    filled(run, tmp_path)
    with pytest.warns(PellucidWarning):
        run.close()
    wait_for_senders()
    service.is_down = False
    (image,) = run.folder.glob("*.png")
    image.unlink()
    (run.folder / "000005.html").unlink()
    (run.folder / "000005.html").symlink_to(tmp_path / "report.html")  # a link is no copy
    (found,) = sync(tmp_path)
    assert (found.error, found.refused, found.sent) == ("", 2, 7)
    assert entries(service, run) == [one for one in EXPECTED if one[0] not in ("image", "file")]
