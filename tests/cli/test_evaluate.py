"""``pellucid evaluate``: from a table of files to a report, and what goes wrong in one line."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from pellucid.cli.main import app
from tests.evaluation.small_set import SIDE, written

FACTORY = """
import torch
from tests.evaluation.small_set import CLASSES, network

def build():
    made = network()
    made.model.classes, made.model.preprocessing = list(CLASSES), made.preprocessing
    return made.model
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("set")
    written(path)
    (path / "factory.py").write_text(FACTORY)
    for method in ("mine", "other"):
        (path / method).mkdir()
        for number in range(12):
            heat = np.random.default_rng([number, len(method)]).random((SIDE, SIDE))
            np.save(path / method / f"image {number}.npy", heat)
    return path


def run(*options: object) -> Result:
    return CliRunner().invoke(app, ["evaluate", *map(str, options)])


def with_model(folder: Path, *options: object) -> Result:
    return run(folder / "cases.csv", "--model", f"{folder / 'factory.py'}:build", "--head", "softmax", *options)


def test_a_model_is_judged(folder: Path, tmp_path: Path) -> None:
    done = with_model(folder, "--methods", "gradcam,saliency", "--metrics", "iou", "--output", tmp_path)
    assert done.exit_code == 0, done.output
    assert "12 images of 6 patients: 9 findings, 3 images without one; 0 left out" in done.output
    assert "report.html: open it in a browser" in done.output
    stated = json.loads((tmp_path / "scores.json").read_text())
    assert [row["method"] for row in stated["rows"] if not row["is_prior"]] == ["gradcam", "saliency"]
    assert stated["planned"] is False
    with (tmp_path / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 9 * 2 * 8
    page = (tmp_path / "report.html").read_text()
    for example in stated["examples"]:
        assert (tmp_path / example["file"]).is_file()
        assert example["file"] in page
    assert sorted({one["kind"] for one in stated["examples"]}) == ["best", "random", "without a finding", "worst"]


def test_the_same_request_again_is_the_same_and_another_one_is_refused(folder: Path, tmp_path: Path) -> None:
    options = ("--maps", f"mine={folder / 'mine'}", "--output", tmp_path)
    assert run(folder / "cases.csv", *options).exit_code == 0
    before = contents(folder)
    assert with_model(folder, "--methods", "gradcam", "--metrics", "iou", "--output", tmp_path).exit_code == 0
    assert contents(folder) == before


def test_the_annotated_class_may_be_asked_for_by_name(folder: Path, tmp_path: Path) -> None:
    options = ("--maps", f"mine={folder / 'mine'}", "--no-report", "--output")
    assert run(folder / "cases.csv", *options, tmp_path / "a").exit_code == 0
    assert run(folder / "cases.csv", *options, tmp_path / "b", "--target", "label").exit_code == 0
    assert (tmp_path / "a" / "scores.json").read_bytes() == (tmp_path / "b" / "scores.json").read_bytes()


def test_a_report_of_the_user_is_not_replaced(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("mine")
    options = ("--maps", f"mine={folder / 'mine'}", "--output", tmp_path)
    done = run(folder / "cases.csv", *options)
    assert done.exit_code == 3
    assert "report.html is already there: remove it, replace it with --overwrite" in done.output
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    assert (tmp_path / "report.html").read_text() == "mine"
    assert run(folder / "cases.csv", *options, "--overwrite").exit_code == 0
    assert (tmp_path / "report.html").read_text() != "mine"
