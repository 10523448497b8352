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
    before = {path.name: path.read_bytes() for path in tmp_path.glob("*.*")}
    assert run(folder / "cases.csv", *options).exit_code == 0
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.*")} == before
    other = run(folder / "cases.csv", *options, "--tolerance", "3 px")
    assert other.exit_code == 3
    assert "there is another evaluation: replace it with --overwrite, or choose another --output" in other.output
    assert run(folder / "cases.csv", *options, "--tolerance", "3 px", "--overwrite").exit_code == 0
    assert json.loads((tmp_path / "scores.json").read_text())["plan"]["tolerance"] == "3 px"


def test_maps_alone_are_judged_by_a_plan(folder: Path, tmp_path: Path) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text('methods = ["mine", "other"]\ntolerance = "10 %"\nmargin = 0.2\n[data]\nmodality = "X-ray"\n')
    maps = [part for name in ("mine", "other") for part in ("--maps", f"{name}={folder / name}")]
    done = run(folder / "cases.csv", *maps, "--plan", plan, "--output", tmp_path / "out", "--no-report")
    assert done.exit_code == 0, done.output
    stated = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert (stated["planned"], stated["plan"]["margin"], stated["quality"]) == (True, 0.2, [])
    assert stated["plan"]["data"] == {"modality": "X-ray", "organ": ""}
    assert stated["provenance"]["data set"]["modality"] == "X-ray (stated by the plan)"
    assert stated["provenance"]["data set"]["organ"] == "not stated"
    assert not (tmp_path / "out" / "report.html").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--methods", "gradcam"], "neither a model nor maps of it were given"),
        (["--maps", "mine"], "--maps mine was given; write --maps METHOD=FOLDER"),
        (["--label", "cyst="], "--label cyst= was given; write --label LABEL=CLASS"),
        (["--maps", "mine={folder}/mine", "--metrics", "deletion_auc"], "it asks the model"),
        (["--maps", "mine={folder}/mine", "--metrics", "iuo"], "did you mean iou"),
        (["--maps", "mine={folder}/mine", "--primary", "entropy"], "neither more nor less of it is better"),
        (["--maps", "mine={folder}/mine", "--tolerance", "5 cm"], "write it as 15 px"),
        (["--maps", "mine={folder}/nowhere"], "it is no folder"),
        (["--maps", "mine={folder}/mine", "--plan", "{folder}/none.toml"], "none.toml"),
        (["--maps", "mine={folder}/mine", "--plan", "{folder}/none.toml", "--metrics", "iou"], "leave one out"),
        (["--maps", "mine={folder}/mine", "--form", "cvs"], "did you mean csv"),
        (["--maps", "mine={folder}/mine", "--label", "cists=cyst"], "no case has that label"),
        (["--maps", "mine={folder}/mine", "--target", "predicted"], "is not known without a model"),
        (["--maps", "centre={folder}/mine"], "that is a prior"),
        (["--maps", "mine={folder}/mine", "--tolerance", "5 mm"], "give the tolerance in px or in %"),
    ],
)
def test_what_cannot_be_done_is_one_line(folder: Path, tmp_path: Path, options: list[str], message: str) -> None:
    done = run(
        folder / "cases.csv",
        *(one.format(folder=folder) for one in options),
        "--output",
        tmp_path / "out",
        "--no-report",
    )
    lines = done.output.strip().splitlines()
    assert done.exit_code in (2, 3), done.output
    assert len(lines) == 1
    assert message in lines[0], lines[0]
    assert not (tmp_path / "out" / "scores.json").exists()


def test_a_method_that_the_model_does_not_allow_is_named(folder: Path, tmp_path: Path) -> None:
    done = with_model(folder, "--methods", "gradcam,rollout", "--output", tmp_path)
    assert done.exit_code == 3
    assert "method 'rollout'" in done.output


def test_all_methods_are_those_that_the_model_allows(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pellucid.core import catalogue

    monkeypatch.setattr(catalogue, "names", lambda: ["gradcam", "rollout", "saliency"])
    done = with_model(folder, "--methods", "all", "--metrics", "iou", "--output", tmp_path)
    assert done.exit_code == 0, done.output
    stated = json.loads((tmp_path / "scores.json").read_text())
    assert [row["method"] for row in stated["rows"] if not row["is_prior"]] == ["gradcam", "saliency"]
    assert any("The method rollout was left out" in note for note in stated["notes"])


def test_names_with_umlauts_and_commas_are_kept(tmp_path: Path) -> None:
    def renamed(number: int, line: str) -> str:
        if number:
            return line
        (tmp_path / "image 0.png").rename(tmp_path / "Größe, „links“.png")
        return line.replace("image 0.png", '"Größe, „links“.png"')

    path = written(tmp_path, change=renamed)
    (tmp_path / "mine").mkdir()
    for name in [f"image {number}.npy" for number in range(1, 12)] + ["Größe, „links“.npy"]:
        np.save(tmp_path / "mine" / name, np.random.default_rng(0).random((SIDE, SIDE)))
    done = run(path, "--maps", f"mine={tmp_path / 'mine'}", "--output", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "Größe, „links“.png" in (tmp_path / "out" / "scores.csv").read_text(encoding="utf-8")
    assert "Größe, „links“.png" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def contents(folder: Path) -> dict[Path, bytes]:
    """The files of a folder, but for those that Python compiled."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"}


def test_the_model_and_the_images_are_left_alone(folder: Path, tmp_path: Path) -> None:
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
