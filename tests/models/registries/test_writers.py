"""Writers at the same time, and writers that are killed: no version is lost, and the index is always whole."""

from __future__ import annotations

import hashlib
import json
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pellucid import ModelRegistry
from pellucid.errors import WriteError
from pellucid.models.registries import locking
from tests.cli.conftest import ROOT
from tests.models.registries.helpers import tiny

Order = Callable[..., dict[str, object]]
KILLED = -signal.SIGKILL


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


@pytest.mark.parametrize("steps", [range(16, 17), pytest.param(range(1, 25), marks=pytest.mark.release)])
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
