"""Weights & Biases: the calls that its package gets, of a stand-in with the signatures of wandb 0.31."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from pellucid import tracking
from pellucid.errors import MissingPackageError, PellucidWarning


class Run:
    """A run of the stand-in."""

    def __init__(self, calls: list[tuple[Any, ...]]) -> None:
        self.id, self._calls = "theirs", calls
        self.config = SimpleNamespace(update=lambda values, allow_val_change: calls.append(("config", values)))

    def define_metric(self, name: str, step_metric: str | None = None) -> None:
        self._calls.append(("define", name, step_metric))

    def log(self, data: dict[str, Any], step: int | None = None) -> None:
        self._calls.append(("log", data))

    def log_artifact(self, artifact: Any) -> None:
        self._calls.append(("artifact", artifact.name, artifact.files))

    def finish(self, exit_code: int | None = None) -> None:
        self._calls.append(("finish", exit_code))


class Artifact:
    """A set of files."""

    def __init__(self, name: str, type: str) -> None:  # noqa: A002  # the package's name
        self.name, self.files = name, []

    def add_file(self, local_path: str, name: str | None = None) -> None:
        self.files.append((name, Path(local_path).read_text()))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    made: list[tuple[Any, ...]] = []

    def init(project: str, entity: str | None, dir: str | None, name: str, id: str, resume: str) -> Run:  # noqa: A002
        made.append(("init", project, entity, name, resume))
        return Run(made)

    module = SimpleNamespace(init=init, Artifact=Artifact, Image=lambda image: ("image", image.size))
    monkeypatch.setitem(sys.modules, "wandb", module)
    return made


def test_a_run_gets_everything_once(calls: list[tuple[Any, ...]], tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("page")
    run = tracking.wandb("chest", run_name="night", folder=tmp_path / "runs")
    run.parameters({"method": "gradcam"})
    run.metrics({"drift": 0.5}, step=3)
    run.metrics({"drift": 0.25}, step=4)
    run.image("case-0", Image.new("RGB", (8, 6)), step=3)
    run.file(tmp_path / "report.html", "report")
    run.child("saliency").metrics({"hits": 1.0})
    run.close()
    assert calls == [
        ("init", "chest", None, "night", "allow"),
        ("config", {"method": "gradcam"}),
        ("define", "drift", "pellucid/step"),
        ("log", {"drift": 0.5, "pellucid/step": 3}),
        ("log", {"drift": 0.25, "pellucid/step": 4}),
        ("define", "case-0", "pellucid/step"),
        ("log", {"case-0": ("image", (8, 6)), "pellucid/step": 3}),
        ("artifact", "theirs-000006", [("report/report.html", "page")]),
        ("define", "saliency/hits", "pellucid/step"),
        ("log", {"saliency/hits": 1.0, "pellucid/step": 0}),
        ("finish", 0),
    ]


def test_what_its_package_raises_is_warned_of(
    calls: list[tuple[Any, ...]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pellucid.tracking import journaled

    monkeypatch.setattr(journaled, "PATIENCE", 0.5)
    monkeypatch.setattr(sys.modules["wandb"], "init", lambda **_: 1 / 0)
    run = tracking.wandb(folder=tmp_path)
    run.metrics({"drift": 0.5})
    with pytest.warns(PellucidWarning, match=r"Weights & Biases \(.*division by zero"):
        run.close()


def test_without_the_package(tmp_path: Path) -> None:
    with pytest.raises(MissingPackageError, match="wandb is not installed: pip install wandb"):
        tracking.wandb(folder=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
