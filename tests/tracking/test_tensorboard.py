"""TensorBoard's event files after a kill at any moment: each point once, and none is lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from pellucid import tracking
from pellucid.tracking import event_files
from pellucid.tracking.destination import Stamp
from pellucid.tracking.destinations.tensorboard import TensorBoard
from pellucid.tracking.syncing import sync

pytest.importorskip("tensorboard")

CASES = [("ledger", 2), ("ledger", 3), ("ledger", 9), ("add_scalar", 4), ("add_image", 3), ("flush", 5)]
"""A call, of the ledger or of the writer, and before which one of it a process is killed."""

# Forks a process for each case.
KILLED = """
import json, os, signal, sys
from pathlib import Path
from threading import Event
from PIL import Image
from torch.utils.tensorboard import SummaryWriter
from pellucid import tracking
from pellucid.tracking.destinations.tensorboard import TensorBoard
from pellucid.tracking.ledger import Ledger

def killed_at(owner, name, last):
    plain, seen = getattr(owner, name), []
    def call(*given, **more):
        seen.append(1)
        if len(seen) == last:
            os.kill(os.getpid(), signal.SIGKILL)
        return plain(*given, **more)
    setattr(owner, name, call)

def log(folder):
    logged, connect = Event(), TensorBoard.connect
    TensorBoard.connect = lambda self: logged.wait() and connect(self)
    run = tracking.tensorboard(folder / "events", journal=folder / "runs")
    for step in range(4):
        run.metrics({"drift": step / 4, "hits": 1.0}, step)
        run.image("0/nodule", Image.new("RGB", (8, 8), "red"), step)
    run.child("saliency").metrics({"hits": 0.5})
    logged.set()
    run.close()

for place, last in json.loads(sys.argv[2]):
    child = os.fork()
    if not child:
        killed_at(*((Ledger, "accept") if place == "ledger" else (SummaryWriter, place)), last)
        log(Path(sys.argv[1]) / f"{place}{last}")
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL, (place, last)
"""
EXPECTED = {(key, step) for key in ("drift", "hits", "0/nodule") for step in range(4)} | {("saliency/hits", 0)}


def points(folder: Path) -> Counter[tuple[str, int]]:
    """How often each point is in a folder's event files, by TensorBoard's own reader."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    found: Counter[tuple[str, int]] = Counter()
    for path in folder.glob("*.tfevents.*"):
        for event in EventFileLoader(str(path)).Load():
            found.update((value.tag, event.step) for value in event.summary.value)
    return found


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what each killed process left."""
    folder = tmp_path_factory.mktemp("killed")
    command = [sys.executable, "-c", KILLED, str(folder), json.dumps(CASES)]
    done = subprocess.run(command, timeout=200, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize(("place", "last"), CASES)
def test_each_point_is_there_once_after_a_kill(killed: Path, place: str, last: int) -> None:
    """Between a point and the ledger, in the middle of an entry of two points, before it is on the disk."""
    folder = killed / f"{place}{last}"
    before = points(folder / "events")
    assert before.keys() < EXPECTED
    (done,) = sync(folder / "runs")
    assert (done.error, done.refused) == ("", 0)
    assert points(folder / "events") == Counter(EXPECTED)
    assert [one.sent for one in sync(folder / "runs")] == [0]


def test_an_accepted_entry_is_on_the_disk(tmp_path: Path) -> None:
    """The writer keeps what it gets for two minutes, unless it is told otherwise: a kill would lose it."""
    connection = TensorBoard(str(tmp_path)).connect()
    connection.metrics("", {"drift": 0.5}, 3, Stamp("r", 2, 1_700_000_000_123, tmp_path))
    assert points(tmp_path) == {("drift", 3): 1}
    Image.new("RGB", (8, 8)).save(tmp_path / "image.png")
    connection.image("", "map", tmp_path / "image.png", 3, Stamp("r", 3, 1_700_000_000_124, tmp_path))
    assert points(tmp_path) == {("drift", 3): 1, ("map", 3): 1}
    connection.end("", "FINISHED", Stamp("r", 4, 1_700_000_000_125, tmp_path))


def test_equal_points_of_another_moment_are_others(tmp_path: Path) -> None:
    """A training that begins anew in the same folder logs the same steps again."""
    for _ in range(2):
        run = tracking.tensorboard(tmp_path / "events", journal=tmp_path / "runs")
        run.metrics({"drift": 0.5}, 1)
        run.close()
    assert points(tmp_path / "events") == {("drift", 1): 2}


def test_files_that_are_older_than_the_run_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = tmp_path / "events.out.tfevents.1.a.1.0", tmp_path / "events.out.tfevents.2.a.2.0"
    old.write_bytes(b"")
    new.write_bytes(b"")
    os.utime(old, (1_700_000_000, 1_700_000_000))
    os.utime(new, (1_700_009_000, 1_700_009_000))
    read: list[Path] = []
    monkeypatch.setattr(event_files, "points_in", lambda path: read.append(path) or iter(()))
    written = event_files.Written(tmp_path)
    assert read == []
    assert not written.has("drift", 1, 1_700_010_000.0)
    assert not written.has("drift", 2, 1_700_010_000.0)
    assert read == [new]


def test_a_file_that_ends_early_or_is_no_event_file_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    run = tracking.tensorboard(tmp_path / "events", journal=tmp_path / "runs")
    for step in range(3):
        run.metrics({"drift": 0.5}, step)
    run.close()
    (path,) = (tmp_path / "events").glob("*.tfevents.*")
    whole = list(event_files.points_in(path))
    assert [(tag, step) for tag, step, _ in whole] == [("drift", 0), ("drift", 1), ("drift", 2)]
    path.write_bytes(path.read_bytes()[:-5])
    assert list(event_files.points_in(path)) == whole[:2]
    path.write_bytes(b"no event file at all, and long enough to be read as one" * 20)
    assert list(event_files.points_in(path)) == []
