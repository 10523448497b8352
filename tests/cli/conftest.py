"""A user's own model, images, and the command line, in this process or in one of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow
from typer.testing import CliRunner, Result

from pellucid.cli.main import app

ROOT = Path(__file__).parents[2]

# Independent of tests.networks, as a user's file is: it also runs in processes elsewhere.
MODEL = """
import time
import torch
from torch import nn

class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU(inplace=True),
            nn.Conv2d(8, 12, 3, stride=2, padding=1), nn.ReLU(inplace=True),
        )
        self.fc = nn.Linear(12, 4)
        self.classes, self.head = ["normal", "effusion", "nodule", "no finding"], "softmax"
        self.preprocessing = {"size": (32, 32), "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}

    def forward(self, x):
        return self.fc(self.features(x).mean((2, 3)))

def make():
    return Tiny().eval()

def positive():
    model = make()
    with torch.no_grad():
        model.fc.weight.abs_()
    return model

def negative():
    model = make()
    with torch.no_grad():
        model.fc.weight.abs_().neg_()
    return model

def zeros():
    model = make()
    with torch.no_grad():
        model.fc.weight.zero_()
    return model

def not_a_number():
    model = make()
    with torch.no_grad():
        model.fc.bias.fill_(float("nan"))
    return model

def plain():
    model = make()
    del model.preprocessing, model.classes
    return model

def plain_positive():
    model = plain()
    with torch.no_grad():
        model.fc.weight.abs_()
    return model

def alike():
    model = make()
    model.classes = ["left/right", "left right", "LEFT-right", "other"]
    return model

def grey():
    model = make()
    model.features[0] = nn.Conv2d(1, 8, 3)
    return model

def flat():
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 3))
    model.preprocessing = {"size": (8, 8)}
    return model

class Deep(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv3d(1, 8, 3, stride=2, padding=1), nn.ReLU(), nn.Conv3d(8, 12, 3, stride=2, padding=1), nn.ReLU()
        )
        self.fc = nn.Linear(12, 3)
        self.classes, self.head = ["normal", "effusion", "nodule"], "softmax"
        self.preprocessing = {"size": (8, 24, 24), "mean": [0.5], "std": [0.25], "orientation": None}

    def forward(self, x):
        return self.fc(self.features(x).mean((2, 3, 4)))

def deep():
    torch.manual_seed(0)
    model = Deep().eval()
    with torch.no_grad():
        model.fc.weight.abs_()
    return model

class Slow(Tiny):
    def forward(self, x):
        time.sleep(0.05)
        return super().forward(x)

def slow():
    return Slow().eval()
"""


def save(path: Path, size: tuple[int, int] = (40, 28), seed: int = 0) -> Path:
    """A image of (width, height) of random pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    levels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Pillow.fromarray(levels).save(path)
    return path


@pytest.fixture
def model(tmp_path: Path) -> Callable[[str], str]:
    """The specification of one of the factories above."""
    file = tmp_path / "models" / "own.py"
    file.parent.mkdir()
    file.write_text(MODEL)
    return lambda factory="make": f"{file}:{factory}"


@pytest.fixture
def pellucid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """The command line in this process; nothing it does may end in a traceback."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERM", "dumb")

    def run(*arguments: object) -> Result:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        assert "Traceback" not in result.output
        return result

    return run


@pytest.fixture
def explain(pellucid: Callable[..., Result], model: Callable[..., str], tmp_path: Path) -> Callable[..., Result]:
    """``pellucid explain`` with a small model, into tmp_path/out."""

    def run(*arguments: object, spec: str | None = None, output: Path | None = None) -> Result:
        return pellucid("explain", *arguments, "--model", spec or model("make"), "-o", output or tmp_path / "out")

    return run


def process(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    """The command line as a process of its own."""
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, timeout=300, check=False, **settings(), **options
    )


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "pellucid", *map(str, arguments)]


def settings() -> dict[str, object]:
    return {"env": {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}, "cwd": ROOT}


def one_line(result: Result, *parts: str, kind: str = "error") -> str:
    """The single line on standard error, with these parts in it."""
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith(f"{kind}: ")
    for part in parts:
        assert part in lines[0], lines[0]
    return lines[0]


WHOLE = ("index.html", "results.csv", "failed.csv")
"""The files that are made of all results of a folder; tests/report is about these."""


def written(folder: Path) -> list[str]:
    """All files below a folder but those of all results, sorted."""
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    return [name for name in files if name not in WHOLE]


def three(*stems: str) -> list[str]:
    """The files that belong to these stems."""
    return sorted(f"{stem}_{what}" for stem in stems for what in ("heatmap.png", "metadata.json", "overlay.png"))
