"""Writers at the same time, and writers that are killed: no version is lost, and the index is always whole."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread

import pytest

from pellucid import ModelRegistry
from pellucid.errors import WriteError
from pellucid.models.registries import locking
from pellucid.models.registries.index import read_index
from pellucid.models.registries.publishing import sweep
from pellucid.models.registries.registry import _listed
from tests.cli.conftest import ROOT
from tests.models.registries.helpers import scores, tiny, tree
from tests.models.registries.killed import FAILED, SETTINGS
from tests.models.registries.published import Published

Order = Callable[..., dict[str, object]]
KILLED = -signal.SIGKILL
FEWEST, STEPS = 26, 45
"""A step that fails may be one that nothing depends on; a save has no more steps than the second."""


@pytest.fixture(scope="module")
def order() -> Iterator[Order]:
    command = [sys.executable, "-m", "tests.models.registries.killed"]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def give(root: Path, **more: object) -> dict[str, object]:
        process.stdin.write(json.dumps({"root": str(root), **more}) + "\n")
        process.stdin.flush()
        return json.loads(process.stdout.readline())

    yield give
    process.stdin.close()
    process.stdout.close()
    process.wait(60)


def checked(root: Path, unlisted: bool = False) -> list[int]:
    """The versions of a registry, each with its whole file; nothing else is there, but for what a kill left."""
    index = json.loads((root / "index.json").read_text()) if (root / "index.json").exists() else {"models": {}}
    records = index["models"].get("chest", [])
    for record in records:
        content = (root / record["checkpoint_path"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == record["extra_state"]["pellucid"]["sha256"]
    versions = [record["version"] for record in records]
    assert sorted(versions) == list(range(1, len(versions) + 1))
    if not unlisted:
        folders = [path for path in root.iterdir() if path.name not in ("index.json", ".index.lock")]
        assert [path.name for path in folders] == ["chest"] * bool(versions)
        assert {path.name for path in (root / "chest").iterdir()} == set(map(str, versions))
    done = Path(f"{root}.done")
    assert set(done.read_text().split() if done.exists() else ()) <= set(map(str, versions)), "a version was lost"
    return versions


@pytest.mark.parametrize("saves", [6, pytest.param(50, marks=pytest.mark.release)])
def test_two_writers_lose_nothing(order: Order, tmp_path: Path, saves: int) -> None:
    assert order(tmp_path / "models", saves=saves, writers=2)["codes"] == [0, 0]
    assert len(checked(tmp_path / "models")) == 2 * saves


def test_a_kill_before_any_step(order: Order, tmp_path: Path) -> None:
    """A further version of a model is saved, and the process is killed before each of its steps in turn."""
    root = tmp_path / "models"
    order(root, saves=1)
    left, saved, step = 0, 1, 0
    while True:
        step += 1
        codes = order(root, step=step)["codes"]
        left += len(list(root.glob(".part-*")))
        saved = len(checked(root, unlisted=True))
        if codes == [0]:
            break
        assert codes == [KILLED]
        assert order(root)["codes"] == [0]
        assert len(checked(root)) == saved + 1
    assert step > 12, "a save has more steps"
    assert left > 5, "kills left drafts behind"


def state(root: Path) -> dict[str, bytes | None]:
    """Everything in a registry but its lock and the drafts that a kill left."""
    return {name: content for name, content in tree(root).items() if not name.startswith((".index.lock", ".part-"))}


def undone(root: Path) -> None:
    """Let the next writer undo what a killed one left."""
    with locking.locked(root):
        sweep(root, _listed(read_index(root)))


ENDS = pytest.mark.parametrize("fails", [False, True], ids=["killed", "disk full"])


@ENDS
@pytest.mark.parametrize("is_there", [False, True])
def test_an_empty_folder_of_a_model_is_left_as_it_was(
    order: Order, tmp_path: Path, is_there: bool, fails: bool
) -> None:
    """The first version of a model is saved, and ends at each of its steps in turn.

    A folder of that name that the user has made is there afterwards, too, and none is left where there was none.
    """
    root, ended = tmp_path / "models", 0
    order(root, key="skin")
    for step in range(1, STEPS):
        key = f"chest{step}"
        if is_there:
            (root / key).mkdir()
        before = state(root)
        (code,) = order(root, key=key, step=step, fails=fails)["codes"]
        undone(root)
        if key not in json.loads((root / "index.json").read_text())["models"]:
            assert code == (FAILED if fails else KILLED)
            assert state(root) == before
            ended += 1
        if code == 0 and (step > FEWEST or not fails):
            break
    assert code == 0, "a save has more steps"
    assert ended >= 8


@pytest.mark.parametrize(("by_trainer", "fails"), [(False, False), (True, False), (True, True)])
def test_an_end_at_any_step_of_attaching(order: Order, tmp_path: Path, by_trainer: bool, fails: bool) -> None:
    """It is attached, or nothing was changed; and what was there stays to the last byte."""
    first, ended = tmp_path / "models", 0
    evaluated = str(scores(tmp_path / "evaluated"))
    if by_trainer:
        Published(first).save("chest", tiny())
    else:
        order(first)
    before = state(first)
    for step in range(1, STEPS):
        root = tmp_path / f"models{step}"
        shutil.copytree(first, root)
        (code,) = order(root, step=step, fails=fails, attached=evaluated)["codes"]
        assert all(state(root)[name] == content for name, content in before.items() if name != "index.json")
        undone(root)
        if ModelRegistry(root).explanation("chest") is None:
            assert code == (FAILED if fails else KILLED)
            assert state(root) == before
            ended += 1
        else:
            assert_attached(root, before)
        if code == 0 and (step > FEWEST or not fails):
            break
    assert code == 0, "attaching has more steps"
    assert ended >= 8


def assert_attached(root: Path, before: dict[str, bytes | None]) -> None:
    """The settings and the evaluation are there, and nothing else is new."""
    registry, after = ModelRegistry(root), state(root)
    assert registry.explanation("chest") == SETTINGS
    assert registry.evaluation("chest").path.relative_to(root) == Path("chest/1/scores.json")
    assert set(after) - set(before) <= {"chest", "chest/1", "chest/1/scores.json"}
    (record,), (known,) = (json.loads(one["index.json"])["models"]["chest"] for one in (after, before))
    kept = record.pop("extra_state")["pellucid"]
    assert kept.keys() - ((known.pop("extra_state") or {}).get("pellucid") or {}).keys() == {
        "explanation",
        "evaluation",
    }
    assert record == known


def test_writers_that_attach_and_save_lose_nothing(order: Order, tmp_path: Path) -> None:
    root = tmp_path / "models"
    order(root)
    order(root, key="skin")
    evaluated = str(scores(tmp_path / "evaluated"))
    registry, writers = ModelRegistry(root), []
    for key, kind in (("chest", "settings"), ("skin", "evaluation")):
        given = {"explanation": SETTINGS} if kind == "settings" else {"evaluation": evaluated}
        writers.append(Thread(target=registry.attach, args=(key, 1), kwargs=given))
    for writer in writers:
        writer.start()
    assert order(root, saves=3)["codes"] == [0]
    for writer in writers:
        writer.join()
    assert registry.versions("chest") == (1, 2, 3, 4)
    assert (registry.explanation("chest", 1), registry.explanation("skin")) == (SETTINGS, None)
    assert registry.evaluation("skin") is not None


@pytest.mark.parametrize("steps", [range(17, 18), pytest.param(range(1, 28), marks=pytest.mark.release)])
def test_a_kill_while_what_a_kill_left_is_undone(order: Order, tmp_path: Path, steps: range) -> None:
    for first in steps:
        for second in range(1, 60):
            root = tmp_path / f"models-{first}-{second}"
            order(root)
            if order(root, step=first)["codes"] == [0]:
                break
            codes = order(root, step=second)["codes"]
            known = checked(root, unlisted=True)
            assert order(root)["codes"] == [0]
            assert len(checked(root)) == len(known) + 1
            if codes == [0]:
                break


@pytest.mark.parametrize("kills", [5, pytest.param(300, marks=pytest.mark.release)])
def test_kills_of_two_writers_at_random(order: Order, tmp_path: Path, kills: int) -> None:
    chance, root = random.Random(0), tmp_path / "models"
    for _ in range(kills):
        order(root, saves=1000, writers=2, delay=chance.uniform(0, 0.15))
        known = checked(root, unlisted=True) if root.exists() else []
        assert order(root)["codes"] == [0]
        assert len(checked(root)) == len(known) + 1


def test_a_writer_that_does_not_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locking, "PATIENCE", 0.05)
    registry = ModelRegistry(tmp_path)
    with locking.locked(tmp_path), pytest.raises(WriteError, match="another process is writing there"):
        registry.save("chest", tiny())
    assert registry.save("chest", tiny()).version == 1
