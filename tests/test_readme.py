"""The README's snippets and commands run, and the errors that it quotes read as quoted."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
import skimage
import torch
from torch import nn
from torchvision.models import resnet18

import pellucid
from pellucid.xai import GradCAM, GradCAMConfig, get_recommended_layers
from tests.fresh import fresh
from tests.networks import TinyCNN, images, seeded, trained

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROSE = " ".join(README.split())


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder like the checkout's root, with the cat, and a checkpoint and images of one's own."""
    shutil.copy(Path(skimage.__file__).parent / "data" / "chelsea.png", tmp_path)
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    (tmp_path / "images").mkdir()
    for name in ("scan.png", "images/scan.png"):
        shutil.copy(tmp_path / "chelsea.png", tmp_path / name)
    torch.manual_seed(0)
    torch.save(trained(resnet18(num_classes=3)).state_dict(), tmp_path / "best.pt")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("code", blocks("python"), ids=range(len(blocks("python"))))
def test_python_snippets_run(code: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scope: dict[str, object] = {}
    exec(compile(code, "README.md", "exec"), scope)
    for shape, name in re.findall(r"explanation\.(\w+).*?# (\([\d, ]+\))", code):
        shape, name = name, shape
        assert str(tuple(getattr(scope["explanation"], name).shape)) == shape
    if "overlay.png" in code:
        assert (folder / "overlay.png").is_file()
        assert "layer4" in capsys.readouterr().out


COMMANDS = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("pellucid ")]
DEMO = [command for command in COMMANDS if "pellucid demo" in command]
RUN = """
import sys
sys.argv = {words!r}
from pellucid.cli.main import run
run()
"""


def run_commands(commands: Sequence[str], folder: Path, *more: str) -> None:
    """Run commands in the folder as they are printed; each ends with 0 and warns of nothing."""
    fresh(*(RUN.format(words=[*shlex.split(one, comments=True), *more]) for one in commands), folder=folder)


def test_commands_run(folder: Path) -> None:
    commands = [command for command in COMMANDS if command not in DEMO]
    run_commands(commands, folder)
    assert (folder / "verdict" / "report.html").is_file()
    for words in map(shlex.split, commands):
        if words[1] == "explain":
            assert list((folder / words[words.index("--output") + 1]).glob("*_overlay.png"))


@pytest.mark.release  # tests/demo makes the demo's page in less time
def test_the_demo_runs(folder: Path) -> None:
    run_commands(DEMO, folder, "--images", "3")  # the page is the same, its figures are of fewer images
    assert (folder / "demo-output" / "pellucid-demo.html").is_file()


def test_snippets_and_commands_are_found() -> None:
    assert README.count("```python") == len(blocks("python")) > 0
    assert {"demo", "evaluate", "explain", "layers", "methods"} <= {shlex.split(command)[1] for command in COMMANDS}


def test_nothing_is_counted_by_hand() -> None:
    assert not re.search(r"\b\d+ (methods|formats|sources|options)\b", PROSE)


def test_make_targets_that_are_named_exist() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"make ([\w-]+)  ", README)) <= targets


def message(call) -> str:
    with pytest.raises(pellucid.PellucidError) as caught:
        call()
    return str(caught.value)


def test_error_layers_not_found() -> None:
    model, batch = resnet18(), images(1, side=64)
    text = message(lambda: pellucid.explain(model, batch, layers=["layer5"]))
    shown = "layer 'layer5' was asked for; the model has none of that name; did you mean layer4,"
    assert text.startswith(shown)
    assert shown in PROSE
    published = message(lambda: GradCAM(model, GradCAMConfig(target_layers=["layer5"])))
    assert published.startswith("Target layers not found: ")
    assert "`Target layers not found: …`" in PROSE


def test_error_no_attention_maps() -> None:
    text = message(lambda: pellucid.explain(seeded(TinyCNN), images(1), method="rollout"))
    shown = "No attention maps captured: the model has no self-attention that could be read; "
    assert text.startswith(shown)
    assert shown in PROSE


def test_error_cannot_auto_detect() -> None:
    flat = nn.Sequential(nn.Flatten(), nn.Linear(3 * 224 * 224, 2))
    with pytest.warns(pellucid.PellucidWarning, match="^Could not auto-detect target layers"):
        text = message(lambda: get_recommended_layers(flat))
    shown = "a layer with more than one spatial position and a gradient was looked for"
    assert text.startswith(shown)
    assert shown in PROSE
    assert "`Could not auto-detect target layers`" in PROSE


def test_error_all_zero_map() -> None:
    model, batch = seeded(TinyCNN).eval(), images(1)
    with torch.no_grad():
        model.fc.weight[0] = -1
        model.fc.weight[1] = 0
    found = pellucid.explain(model, batch, targets=[0], layers=["features.4"])
    assert found.why_degenerate == (("all evidence negative",),)
    assert pellucid.explain(model, batch, targets=[1], layers=["features.4"]).why_degenerate == (("constant",),)
    batch[:] = float("nan")
    assert pellucid.explain(model, batch, targets=[1], layers=["features.4"]).why_degenerate == (("not finite",),)
    assert all(f"*{reason}*" in PROSE for reason in ("constant", "not finite", "all evidence negative"))
