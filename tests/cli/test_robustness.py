"""``pellucid robustness`` as it is run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from pellucid.cli.main import app
from tests.cli.conftest import ROOT
from tests.evaluation.small_set import CLASSES, written

FACTORY = """
import pellucid
from tests.evaluation.small_set import network
def made():
    own = network()
    own.model.preprocessing = own.preprocessing
    return own.model
def bare():
    return network().model
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "set"
    written(path)
    (path / "net.py").write_text(FACTORY)
    (path / "classes.txt").write_text("\n".join(CLASSES))
    (path / "bare.csv").write_text("\n".join(["path,label", *(f"image {number}.png," for number in range(4))]))
    return path


def run(folder: Path, *words: object, factory: str = "made", data: str = "cases.csv"):  # type: ignore[no-untyped-def]
    return CliRunner().invoke(app, [*called(folder, factory, data), *map(str, words)])


def called(folder: Path, factory: str = "made", data: str = "cases.csv") -> list[str]:
    """The command with its data set and model."""
    model = ("--model", f"{folder / 'net.py'}:{factory}", "--classes", str(folder / "classes.txt"))
    return ["robustness", str(folder / data), *model, "--head", "softmax", "--device", "cpu"]


def test_a_data_set_becomes_a_page(folder: Path, tmp_path: Path) -> None:
    state = torch.get_rng_state()
    done = run(
        folder,
        *("--methods", "gradcam,centre", "--changes", "noise,rotation,pgd(steps=1)", "--metric", "pearson"),
        *("--budgets", "noise=0,0.1", "--budgets", "pgd(steps=1)=1/255,8/255", "--output", tmp_path / "out"),
    )
    assert done.exit_code == 0, done.output
    assert "12 images of 6 patients; 0 left out" in done.output
    assert "gradcam: the map of image" in done.output
    assert torch.equal(torch.get_rng_state(), state)
    stated = json.loads((tmp_path / "out" / "robustness.json").read_text())
    assert stated["plan"]["budgets"] == {"noise": [0.0, 0.1], "pgd(steps=1)": [1 / 255, 8 / 255]}
    assert list(stated["levels"][0]["figures"])[-2:] == ["ssim", "pearson"]
    assert [one["level"] for one in stated["levels"][:2]] == [0.0, 0.1]
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("<figure") == 3
    assert "pgd(steps=1)" in page
    assert {path.name for path in (tmp_path / "out" / "figures").iterdir()} == {
        f"{name}.{kind}" for name in ("answers", "maps", "hits") for kind in ("png", "svg")
    }
    again = run(folder, "--changes", "blur", "--output", tmp_path / "out")
    assert again.exit_code == 3
    assert "there is another result" in again.output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--budgets", "noise=-0.1"], "strength -0.1 of change 'noise' was asked for"),
        (["--budgets", "noise=0.1,7"], "give 0 or more and at most 1"),
        (["--budgets", "pgd=2"], "epsilon 2 was given; pixels are in [0, 1]"),
        (["--budgets", "pgd=-1/255"], "epsilon must be >= 0"),
        (["--budgets", "noise"], "write --budgets CHANGE=LEVEL,…"),
        (["--budgets", "noise=much"], "write --budgets CHANGE=LEVEL,…"),
        (["--budgets", "noise=1/0"], "write --budgets CHANGE=LEVEL,…"),
        (["--budgets", "noise=nan"], "write --budgets CHANGE=LEVEL,…"),
        (["--budgets", "topk=0.1"], "budgets of 'topk' were given"),
        (["--changes", "nosie"], "did you mean noise"),
        (["--changes", "noise(strength=1)"], "its strength is its budget: give --budgets"),
        (["--methods", "gradcma"], "did you mean gradcam"),
        (["--metric", "iou"], "it judges one map"),
        (["--label", "cyst=none"], "the model has no such class"),
    ],
)
def test_what_cannot_be_done_is_one_line(folder: Path, tmp_path: Path, options: list[str], message: str) -> None:
    done = run(folder, *options, "--output", tmp_path / "out", "--no-report")
    lines = done.output.strip().splitlines()
    assert done.exit_code in (2, 3), done.output
    assert len(lines) == 1, done.output
    assert message in lines[0], lines[0]
    assert not (tmp_path / "out" / "robustness.json").exists()


def test_normalisation_is_asked_for(folder: Path, tmp_path: Path) -> None:
    words = ("--changes", "contrast", "--output", tmp_path / "out", "--size", "32", "--no-report")
    done = run(folder, *words, factory="bare")
    assert done.exit_code == 2
    assert "the model does not state its normalisation: give --mean and --std, or --range 0,1" in done.output
    assert not (tmp_path / "out").exists()
    done = run(folder, *words, "--mean", "0.5", "--std", "0.25", factory="bare")
    assert done.exit_code == 0, done.output


def test_a_run_that_is_killed_goes_on_to_the_same_end(folder: Path, tmp_path: Path) -> None:
    words = [*called(folder, data="bare.csv"), "--changes", "noise", "--batch-size", "1", "--no-report", "--output"]
    command = [sys.executable, "-m", "pellucid", *words, str(tmp_path / "out")]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}/src:{ROOT}"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    journal = tmp_path / "out" / ".robustness.jsonl"
    while process.poll() is None and not (journal.exists() and journal.read_bytes().count(b"\n") > 1):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = journal.read_bytes().splitlines()[:2]
    assert not (tmp_path / "out" / "robustness.json").exists()
    for place in ("out", "whole"):
        done = CliRunner().invoke(app, [*words, str(tmp_path / place)])
        assert done.exit_code == 0, done.output
    assert journal.read_bytes().splitlines()[:2] == kept
    for name in ("robustness.json", "scores.csv"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_the_images_need_no_masks(folder: Path, tmp_path: Path) -> None:
    done = run(folder, "--changes", "gamma", "--output", tmp_path / "out", data="bare.csv")
    assert done.exit_code == 0, done.output
    page = (tmp_path / "out" / "report.html").read_text()
    assert "hit rates are not known" in page
    assert page.count("<figure") == 2
    assert np.array([line.count(",") for line in (tmp_path / "out" / "scores.csv").read_text().splitlines()]).std() == 0
