"""``pellucid explain --as sequence``: the images of each folder as one input, and results of each image."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from pydicom.data import get_testdata_file
from typer.testing import CliRunner, Result

import pellucid as library
from pellucid.cli.main import app
from tests.cli.conftest import one_line, save, written

MODEL = """
import torch
from torch import nn

class Views(nn.Module):
    def __init__(self, channels):
        super().__init__()
        torch.manual_seed(0)
        self.cnn = nn.Sequential(nn.Conv2d(channels, 6, 3, 2, 1), nn.Tanh())
        self.fc = nn.Linear(6, 2)
        self.classes, self.head = ["normal", "mass"], "softmax"
        self.preprocessing = {"size": (16, 24), "mean": [0.5] * channels, "std": [0.25] * channels}

    def forward(self, x):
        return self.fc(self.cnn(x.flatten(0, 1)).mean((2, 3)).unflatten(0, x.shape[:2]).amax(1))

class Stack(Views):
    def forward(self, x):
        return super().forward(x[:, :, None])

class Single(Views):
    def forward(self, x):
        return super().forward(x[:, None])

def colour():
    return Views(3).eval()

def grey():
    return Views(1).eval()

def stack():
    return Stack(1).eval()

def single():
    return Single(3).eval()
"""


@pytest.fixture
def explain(tmp_path: Path) -> Callable[..., Result]:
    (tmp_path / "nets.py").write_text(MODEL, encoding="utf-8")

    def run(folder: Path, factory: str, *more: str) -> Result:
        spec = f"{tmp_path / 'nets.py'}:{factory}"
        known = ("--model", spec, "--output", str(tmp_path / "out"), "--as", "sequence", "--method", "hirescam")
        return CliRunner().invoke(app, ["explain", str(folder), *known, *more])

    return run


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    for study, names in (("p1", ("view1", "view2", "view10")), ("p2", ("view2", "view1"))):
        for number, name in enumerate(names):
            save(tmp_path / "data" / study / f"{name}.png", (16 + number, 24 + number))
    return tmp_path / "data"


def heat(path: Path) -> np.ndarray:
    return np.asarray(Pillow.open(path), dtype=np.float32)


@pytest.mark.parametrize("factory", ["colour", "grey", "stack"])
def test_each_image_of_a_folder_has_its_results(
    explain: Callable[..., Result], studies: Path, tmp_path: Path, factory: str
) -> None:
    result = explain(studies, factory, "--export", "npz", "-q", "--target", "mass")
    assert (result.exit_code, result.stderr) == (0, "")
    names = [*(f"p1_view{number}" for number in (1, 10, 2)), "p2_view1", "p2_view2"]
    expected = sorted(f"{name}_{what}" for name in names for what in ("explanation.npz", "metadata.json"))
    assert sorted(written(tmp_path / "out")) == expected
    model = library.load_model(f"{tmp_path / 'nets.py'}:{factory}")
    images = [
        library.prepare(model, library.read_image(studies / "p1" / f"view{number}.png")).values for number in (1, 2, 10)
    ]
    batch = torch.stack(images)[None]
    whole = library.explain(model, batch.squeeze(2) if factory == "stack" else batch, "hirescam", "mass")
    assert whole.is_sequence
    for number, name in enumerate(("view1", "view2", "view10")):
        one = library.load_explanation(tmp_path / "out" / f"p1_{name}_explanation.npz")
        torch.testing.assert_close(one.heatmaps, whole.heatmaps[:, :, number])
        torch.testing.assert_close(one.attributions, whole.attributions[:, :, number])
        assert one.of_sequence == f"image {number + 1} of 3"
        facts = json.loads((tmp_path / "out" / f"p1_{name}_metadata.json").read_text(encoding="utf-8"))
        assert Path(facts["image"]) == studies / "p1" / f"{name}.png"
    assert float(whole.heatmaps.max()) == 1


def test_dicom_objects_belong_to_each_image(explain: Callable[..., Result], tmp_path: Path) -> None:
    folder = tmp_path / "data" / "p1"
    folder.mkdir(parents=True)
    for number, name in enumerate(("CT_small.dcm", "MR_small.dcm")):
        (folder / f"{number}.dcm").write_bytes(Path(get_testdata_file(name)).read_bytes())
    result = explain(folder, "grey", "--export", "sc,seg,png", "-q")
    assert (result.exit_code, result.stderr) == (0, "")
    for number, name in enumerate(("CT_small.dcm", "MR_small.dcm")):
        source = library.read_image(get_testdata_file(name))
        made = library.read_image(next((tmp_path / "out").glob(f"p1_{number}_*sc*.dcm")))
        header = made.instances[0].header
        assert header.StudyInstanceUID == source.instances[0].header.StudyInstanceUID


def test_what_is_no_sequence_is_refused(explain: Callable[..., Result], studies: Path, tmp_path: Path) -> None:
    result = explain(studies, "single", "-q")
    assert result.exit_code == 3
    assert not (tmp_path / "out").exists() or not written(tmp_path / "out")
    assert "or leave out --as sequence" in result.stderr
    text = MODEL.replace('"size": (16, 24), ', "")
    (tmp_path / "nets.py").write_text(text, encoding="utf-8")
    uneven = explain(studies / "p1", "colour", "-q")
    one_line(uneven, "the images of a sequence have one size", "give --size")
