"""Hostile and broken checkpoints: each is read or gets one line, within bounds of time and memory."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.models import hostile, reading_hostile

SECONDS = 10.0


def read_all(folder: Path, files: Iterator[tuple[str, str, bytes]]) -> list[dict[str, object]]:
    """What each file gave, in a process that may take one gigabyte more than when it began."""
    hostile.write(folder, files)
    command = [sys.executable, "-m", reading_hostile.__name__, str(folder)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    found = [json.loads(line) for line in run.stdout.splitlines()]
    written = len(list(folder.iterdir()))
    assert len(found) == written, f"the process ended after {len(found)} of {written} files: {run.stderr[-500:]}"
    return found


def offending(found: list[dict[str, object]], memory: int = reading_hostile.GIGABYTE) -> list[dict[str, object]]:
    """Those with an error that should not be, or that took more than they may."""
    return [
        one
        for one in found
        if str(one["outcome"]).startswith("BAD")
        or "alloc" in str(one["outcome"])
        or "MemoryError" in str(one["outcome"])
        or float(str(one["seconds"])) > SECONDS
        or int(str(one["memory"])) > memory
    ]


def mutated(count: int, seed: int) -> Iterator[tuple[str, str, bytes]]:
    return (("mutation", ending, content) for ending, content in hostile.mutations(count, seed))


def test_bombs(tmp_path: Path) -> None:
    """Each is a quarter of a megabyte, and may take a quarter of what one of a megabyte may."""
    found = read_all(tmp_path, hostile.bombs(hostile.SIZE // 4))
    assert offending(found, reading_hostile.GIGABYTE // 4) == []
    assert max(int(str(one["memory"])) for one in found) > 2**20  # the peak was measured


def test_mutations(tmp_path: Path) -> None:
    found = read_all(tmp_path, mutated(400, 0))
    assert offending(found) == []
    read = sum(one["outcome"] == "read" for one in found)
    assert 20 < read < 300  # some changes leave the weights as they are, others do not


@pytest.mark.release
def test_bombs_in_every_format(tmp_path: Path) -> None:
    assert offending(read_all(tmp_path, hostile.bombs(every=True))) == []


@pytest.mark.release
def test_ten_thousand_mutations(tmp_path: Path) -> None:
    assert offending(read_all(tmp_path, mutated(10_000, 1))) == []
