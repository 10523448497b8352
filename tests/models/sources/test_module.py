"""``package.module:factory``: a model of an installed package."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import pellucid
from pellucid.errors import SourceError
from pellucid.models.sources.finding import find, forms

MODULE = """
from torch import nn

def build(num_classes=2):
    print("said")
    head = nn.Linear(4, num_classes)
    made = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)
    made.classes = ["well", "ill", "unknown"][:num_classes]
    made.preprocessing = {"size": 32, "mean": [0.5], "std": [0.25]}
    return made

def number():
    return 3

def broken():
    raise ValueError("no weights here")
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An importable package with a module of factories, and one whose parent cannot be imported."""
    for name, init in (("clinic_made", ""), ("clinic_broken", "raise RuntimeError('broken')")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(init)
        (tmp_path / name / "nets.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    yield "clinic_made.nets"
    for name in [name for name in sys.modules if name.startswith("clinic_")]:
        del sys.modules[name]


def test_a_function_of_a_module_makes_the_model(package: str, capsys: pytest.CaptureFixture[str]) -> None:
    for spec in (f"{package}:build", f"module:{package}:build"):
        info = pellucid.model_info(pellucid.load_model(spec))
        assert (info.spec, info.classes) == (spec, ("well", "ill"))
        assert info.preprocessing is not None
        assert info.preprocessing.resize == 32
    assert pellucid.model_info(pellucid.load_model(f"{package}:build", num_classes=3)).classes == (
        "well", "ill", "unknown",
    )  # fmt: skip
    assert capsys.readouterr().out == ""


def test_the_phantoms_networks_are_named_so() -> None:
    model = pellucid.load_model("pellucid.phantom:unguided_cnn")
    assert pellucid.model_info(model).classes == ("nodule", "consolidation", "cavity")
    assert not model.training


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("{}:bild", "has no function 'bild'; did you mean build"),
        ("{}:number", "an nn.Module was expected, got int"),
        ("{}:broken", "ValueError: no weights here"),
        ("{}.more:build", "names no model"),
        ("clinic_nowhere.nets:build", "names no model"),
        ("clinic_broken.nets:build", "names no model"),
        ("module:clinic_broken.nets:build", "names no function of an installed package"),
        ("module:nothing", "names no function of an installed package"),
        ("{}:build:again", "names no model"),
        ("{}:", "names no model"),
    ],
)
def test_what_is_no_model_is_one_line(package: str, name: str, message: str) -> None:
    with pytest.raises(SourceError, match=message) as caught:
        pellucid.load_model(name.format(package))
    assert "\n" not in str(caught.value)


def test_other_sources_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "timm.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    assert find("timm:resnet18")[0].prefix == "timm"
    assert find("timm.py:build")[0].prefix == "file"
    assert "package.module:factory" in forms()
    assert "module:…" not in forms()
