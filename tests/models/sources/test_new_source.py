"""A new source of models is one file: beside pellucid's own, or in another package with an entry point."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import pellucid
from pellucid.errors import PellucidWarning, SourceError
from pellucid.models import sources as package
from pellucid.models.sources import base, finding
from tests.core.packages import Install, installer

MINE = '''"""``mine:net``: networks of a test."""
from torch import nn
from pellucid.errors import SourceError
from pellucid.models.sources.base import ModelInfo

class MineSource:
    """Networks by their names."""

    prefix = "mine"
    brings_weights = False

    def outline(self, request):
        return self.build(request)

    def build(self, request):
        if request.name != "net":
            raise SourceError(f"mine:{request.name} is no model; give mine:net")
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))

    def info(self, request, model):
        return ModelInfo(classes=("well", "ill"), head="sigmoid")

SOURCE = MineSource()
'''


@pytest.fixture(autouse=True)
def restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    _anew()
    yield
    monkeypatch.undo()
    for name in [name for name in sys.modules if name.startswith(f"{package.__name__}.zz_")]:
        del sys.modules[name]
    _anew()


def _anew() -> None:
    base._own.cache_clear()
    base._ADDED.clear()
    base._PLUGINS.forget()


@pytest.fixture
def beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose files stand among pellucid's own sources."""
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    return tmp_path


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    return installer("pellucid.sources", tmp_path, monkeypatch)


def check_mine(folder: Path) -> None:
    """The source is listed, its models load, with random weights or from a file, and can be explained."""
    assert "mine:…" in finding.forms()
    with pytest.raises(SourceError, match=r"give one of .*mine:…"):
        pellucid.load_model("other:net")
    with pytest.raises(SourceError, match="mine:netz is no model; give mine:net"):
        pellucid.load_model("mine:netz")
    model = pellucid.load_model("mine:net")
    assert not model.training
    assert pellucid.model_info(model) == pellucid.ModelInfo("mine:net", ("well", "ill"), "sigmoid", weights="random")
    torch.save(model.state_dict(), folder / "net.pt")
    again = pellucid.load_model("mine:net", checkpoint=folder / "net.pt")
    assert pellucid.model_info(again).weights == "checkpoint"
    batch = torch.rand(1, 3, 12, 12)
    found = pellucid.explain(again, batch, targets="ill")
    assert (found.head, found.label(0)) == ("sigmoid", "ill")
    torch.testing.assert_close(found.logits, model(batch).detach())


def test_a_file_beside_the_others(beside: Path) -> None:
    (beside / "zz_mine.py").write_text(MINE)
    check_mine(beside)


def test_a_package_with_an_entry_point(install: Install, tmp_path: Path) -> None:
    install("zz_mine", MINE, {"mine": "zz_mine:SOURCE"})
    check_mine(tmp_path)


def test_an_entry_point_that_names_the_module(install: Install) -> None:
    install("zz_mine", MINE, {"mine": "zz_mine"})
    assert pellucid.load_model("mine:net") is not None


NO_PREFIX = "its prefix is None"


def test_a_broken_source_is_reported_when_it_is_asked_for(install: Install) -> None:
    install("zz_mine", MINE, {"mine": "zz_mine"})
    install("zz_bad", "import no_such_module_at_all", {"bad": "zz_bad"})
    install("zz_none", "", {"none": "zz_none"})
    assert pellucid.load_model("mine:net") is not None
    text = "entry point 'bad' of zz_bad was left out: ModuleNotFoundError: No module named 'no_such_module_at_all'"
    for spec in ("bad:net", "other:net"):  # the package may mean another prefix than its entry point states
        with pytest.warns(PellucidWarning) as caught, pytest.raises(SourceError, match="names no model"):
            pellucid.load_model(spec)
        assert [str(one.message).rpartition(": ")[2] for one in caught] == [text.rpartition(": ")[2], NO_PREFIX]
        assert str(caught[0].message) == text
        assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert finding.find("a/b.py:make")[1] == "a/b.py:make"


def test_a_package_does_not_replace_a_source(install: Install) -> None:
    install("zz_timm", MINE.replace('"mine"', '"timm"'), {"timm": "zz_timm"})
    with pytest.warns(PellucidWarning, match="pellucid has a source 'timm' of its own: rename the other one"):
        source, name = finding.find("timm:resnet18")
    assert (type(source).__module__, name) == ("pellucid.models.sources.timm", "resnet18")


def test_two_files_of_one_prefix_are_refused(beside: Path) -> None:
    (beside / "zz_again.py").write_text(MINE.replace('"mine"', '"timm"'))
    with pytest.raises(SourceError, match="two files are sources of the prefix 'timm'"):
        finding.forms()


def test_paths_belong_to_the_sources_that_take_them() -> None:
    assert type(finding.find("a/b.py:make")[0]).__name__ == "FileSource"
    assert finding.find("file:a/b.py:make") == (finding.find("a/b.py:make")[0], "a/b.py:make")
    assert finding.find("onnx:a.onnx") == (finding.find("a.onnx")[0], "a.onnx")
    with pytest.raises(SourceError, match=r"'a/b.py' names no function; .* as in a/b.py:build"):
        pellucid.load_model("a/b.py")


def test_forms_are_known_in_a_fresh_process() -> None:
    code = "from pellucid.models.sources.finding import forms; print(*forms())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.stderr == ""
    assert done.stdout.split() == finding.forms()
