"""Images and masks that cannot be used are named on standard error, and the exit code says that some failed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow
from typer.testing import CliRunner, Result

from pellucid.cli.main import app
from tests.evaluation.small_set import SIDE, written

FACTORY = """
from tests.evaluation.small_set import CLASSES, network

def build():
    made = network()
    made.model.classes, made.model.preprocessing, made.model.head = list(CLASSES), made.preprocessing, "softmax"
    return made.model
"""
FAILED = ["image 0.png", "image 1.png", "image 2.png", "image 3.png"]
BROKEN = "error: image 2.png: its mask cannot be read (cannot read "
OTHER = f"error: image 3.png: its mask has another size than the image (20 × 20; the image has {SIDE} × {SIDE})"
QUICK = {
    "evaluate": ("--metrics", "iou", "--no-report"),
    "robustness": ("--changes", "noise", "--budgets", "noise=0.1", "--no-report"),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "set"
    written(path)
    (path / "net.py").write_text(FACTORY)
    return path


def spoil(folder: Path) -> None:
    (folder / "image 0.png").write_bytes(b"no image")
    whole = (folder / "image 1.png").read_bytes()
    (folder / "image 1.png").write_bytes(whole[: len(whole) // 2])
    (folder / "mask 2.png").write_bytes(b"broken")
    Pillow.fromarray(np.full((20, 20), 255, dtype=np.uint8)).save(folder / "mask 3.png")


def run(command: str, folder: Path, *options: object) -> Result:
    words = [command, folder / "cases.csv", "--model", f"{folder / 'net.py'}:build", "--output", folder / "out"]
    return CliRunner().invoke(app, [*map(str, (*words, *QUICK[command], *options))])


@pytest.mark.parametrize("command", QUICK)
def test_what_cannot_be_read_is_named_and_the_rest_is_measured(command: str, folder: Path) -> None:
    spoil(folder)
    for _ in range(2):  # the second run takes all values from the first
        done = run(command, folder, "--quiet")
        assert done.exit_code == 1
        assert done.stdout == ""
        lines = [line for line in done.stderr.splitlines() if line.startswith("error")]
        assert len(lines) == 4
        assert all(any(name in line for line in lines) for name in FAILED)
        assert lines[2].startswith(BROKEN)
        assert lines[3] == OTHER
    stated = (folder / "out" / ("scores.json" if command == "evaluate" else "robustness.json")).read_text()
    assert str(folder) not in stated
    excluded = json.loads(stated)["flow"]["excluded"] if command == "evaluate" else json.loads(stated)["excluded"]
    assert excluded["the image cannot be used"] == ["image 0.png", "image 1.png"]


@pytest.mark.parametrize("command", QUICK)
def test_what_is_left_out_by_the_rules_is_no_failure(command: str, folder: Path) -> None:
    (folder / "mask 0.png").unlink()
    Pillow.fromarray(np.zeros((SIDE, SIDE), dtype=np.uint8)).save(folder / "mask 1.png")
    (folder / "image 5.png").write_bytes((folder / "image 4.png").read_bytes())
    done = run(command, folder)
    assert done.exit_code == 0, done.output
    assert "error" not in done.stderr
    assert " 0 left out" not in done.stdout


@pytest.mark.parametrize("command", QUICK)
def test_where_all_images_fail_the_message_has_the_first_reason(command: str, folder: Path) -> None:
    for number in range(12):
        (folder / f"image {number}.png").write_bytes(b"no image")
    done = run(command, folder, "--quiet")
    assert done.exit_code == 3
    assert "image cannot be used; the first: cannot read" in done.stderr
    assert "image 0.png: it is broken, or not in a format that is read" in done.stderr
    assert done.stderr.count("\n") == 1
