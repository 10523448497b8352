"""The examples of the help texts work as they are printed."""

from __future__ import annotations

import shlex
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom.data
import pytest
import torch
import typer.main
from torchvision.models import resnet18
from typer.testing import CliRunner

from pellucid.cli.derived import examples
from pellucid.cli.main import app
from pellucid.errors import PellucidWarning
from tests.cli.conftest import save
from tests.cli.quick import quick

COMMANDS = typer.main.get_command(app).commands
EXAMPLES = [line for command in COMMANDS.values() for line in examples(command.callback)]
ELSEWHERE = ("pacs.example.org", "pellucid demo", "pellucid doctor", "pellucid mlflow", "pellucid choose best.pt")
"""What needs an archive or a network that learnt something, or is run by tests of its own."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The files that the examples name."""
    save(tmp_path / "scan.png")
    save(tmp_path / "images" / "a.png")
    shutil.copy(pydicom.data.get_testdata_file("CT_small.dcm", download=False), tmp_path / "scan.dcm")
    outlined(tmp_path)
    torch.save(resnet18(num_classes=2).state_dict(), tmp_path / "best.pt")
    torch.save(resnet18(num_classes=2), tmp_path / "whole.pt")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PellucidWarning)
        yield


def outlined(folder: Path) -> None:
    """Write two images with boxes in a table, maps of them and of drawn radiographs, and a plan."""
    lines = ["path,label,box,patient"]
    for number in range(2):
        save(folder / f"case{number}.png", (64, 64), seed=number)
        lines.append(f"case{number}.png,{number},8 8 40 40,P{number}")
    (folder / "cases.csv").write_text("\n".join(lines))
    (folder / "plan.toml").write_text('methods = ["mine"]\n')
    for name, side in [
        *((f"maps/case{number}", 64) for number in range(2)),
        *((f"drawn/{n:05}", 128) for n in range(8)),
    ]:
        (folder / name).parent.mkdir(exist_ok=True)
        np.save(folder / f"{name}.npy", np.random.default_rng(side).random((side, side)))


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_prints_them(name: str) -> None:
    found = examples(COMMANDS[name].callback)
    assert found
    shown = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "80", "TERM": "dumb"}).stdout
    lines = [line.strip() for line in shown.splitlines()]
    assert [line for line in found if line not in lines] == []  # each on one line


@pytest.mark.parametrize("line", EXAMPLES)
def test_their_options_exist(line: str) -> None:
    words = shlex.split(line.rpartition("| ")[2])
    options = {spelled for one in COMMANDS[words[1]].params for spelled in one.opts}
    assert words[0] == "pellucid"
    assert {word for word in words if word.startswith("--")} <= options


@pytest.mark.parametrize("line", [line for line in EXAMPLES if not any(one in line for one in ELSEWHERE)])
def test_they_run(line: str, folder: None) -> None:
    before, _, command = line.rpartition("| ")
    words = quick(shlex.split(command)[1:])
    piped = Path(before.split()[1]).read_bytes() if before else None
    done = CliRunner().invoke(app, words, input=piped)
    assert done.exit_code == 0, done.stderr
    if "--output" in words:
        made = Path(words[words.index("--output") + 1])
        results = [*made.rglob("*_overlay.png"), *made.glob("report.html")]
        assert made.is_file() or results
