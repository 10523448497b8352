"""``pellucid convert``: the weights of whole networks, never by running them."""

from __future__ import annotations

import json
import os
import shlex
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
import torchvision
from torch import nn
from typer.testing import Result

from tests.cli.conftest import one_line, save

Run = Callable[..., Result]


class Wrapped(nn.Module):
    """A network of a class that only its author has, with everything that a module may hold."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        self.again = self.body[0]
        self.register_buffer("kept", torch.arange(3))
        self.register_buffer("dropped", torch.ones(2), persistent=False)
        self.none = None
        self.beside = torch.ones(5)
        self.fc = nn.Linear(4, 4)
        self.fc.bias = self.body[1].bias  # the same memory twice


class Runs:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.mark}",)


def resnet() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return torchvision.models.resnet18(num_classes=5).eval()


def same(path: Path, model: nn.Module) -> bool:
    found, expected = safetensors.torch.load_file(path), model.state_dict()
    return found.keys() == expected.keys() and all(torch.equal(found[key], expected[key]) for key in found)


def scripted(model: nn.Module, path: Path, kind: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated
        made = torch.jit.script(model) if kind == "script" else torch.jit.trace(model, torch.zeros(1, 3, 64, 64))
        torch.jit.save(made, path)


def probabilities(pellucid: Run, tmp_path: Path, *model: str) -> list[float]:
    output = tmp_path / f"out{len(list(tmp_path.iterdir()))}"
    quick = ("--method", "saliency", "--size", "64")  # needs no layer
    result = pellucid("explain", str(save(tmp_path / "x.png")), *model, *quick, "--output", str(output))
    assert result.exit_code == 0, result.output
    (found,) = output.glob("*.json")
    return json.loads(found.read_text())["prediction"]["probabilities"]


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_a_whole_network_gives_its_logits(pellucid: Run, tmp_path: Path, zipped: bool) -> None:
    torch.save(resnet(), tmp_path / "whole.pt", _use_new_zipfile_serialization=zipped)
    torch.save(resnet().state_dict(), tmp_path / "state.pt")
    result = pellucid("convert", str(tmp_path / "whole.pt"))
    assert result.exit_code == 0
    made = tmp_path / "whole.safetensors"
    assert result.stdout == f"{made}: 122 tensors of 11,188,697 numbers\n"
    assert same(made, resnet())
    spec = ("--model", "torchvision:resnet18", "--checkpoint")
    assert probabilities(pellucid, tmp_path, *spec, str(made)) == probabilities(
        pellucid, tmp_path, *spec, str(tmp_path / "state.pt")
    )


@pytest.mark.parametrize("kind", ["script", "trace"])
def test_torchscript(pellucid: Run, tmp_path: Path, kind: str) -> None:
    scripted(resnet(), tmp_path / "best.pt", kind)
    refused = pellucid(
        "explain", str(save(tmp_path / "x.png")), "--checkpoint", str(tmp_path / "best.pt"), "-o", str(tmp_path / "o")
    )
    command = one_line(refused).partition("`pellucid ")[2].partition("`")[0]
    result = pellucid(*shlex.split(command))  # the remedy that the message names
    assert (result.exit_code, "left out" in result.stdout) == (0, False), result.output
    assert same(tmp_path / "best.safetensors", resnet())


def test_a_network_of_an_unknown_class(pellucid: Run, tmp_path: Path) -> None:
    torch.save({"epoch": 3, "model": Wrapped()}, tmp_path / "best.pt")
    result = pellucid("convert", str(tmp_path / "best.pt"), "--output", str(tmp_path / "new" / "w.safetensors"))
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[1] == "left out: dropped, beside, epoch"
    found = safetensors.torch.load_file(tmp_path / "new" / "w.safetensors")
    assert found.keys() == Wrapped().state_dict().keys()


def test_nothing_of_the_file_runs(pellucid: Run, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    torch.save({"model": nn.Linear(2, 2), "config": Runs(mark)}, tmp_path / "best.pt")
    result = pellucid("convert", str(tmp_path / "best.pt"))
    assert result.stdout.splitlines()[1] == "left out: config"
    assert not mark.exists()


def test_nothing_is_replaced_unasked(pellucid: Run, tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "best.pt")
    made = tmp_path / "best.safetensors"
    made.write_text("mine")
    result = pellucid("convert", str(tmp_path / "best.pt"))
    assert (result.exit_code, made.read_text()) == (3, "mine")
    assert one_line(result) == f"error: {made} is already there: remove it, or replace it with --overwrite"
    assert pellucid("convert", str(tmp_path / "best.pt"), "--overwrite").exit_code == 0
    first = made.read_bytes()
    again = pellucid("convert", str(made), "--overwrite")
    assert (again.exit_code, made.read_bytes()) == (2, first)
    assert "would replace itself" in one_line(again)


@pytest.mark.parametrize(
    ("content", "options", "said"),
    [
        (nn.ReLU(), (), "has none where a module has them"),
        (torch.optim.SGD([torch.ones(1, requires_grad=True)]), (), "has none where a module has them"),
        ({"epoch": 3}, (), "a network's weights were expected, got epoch"),
        ({"w.weight": torch.ones(2, 2)}, ("--output", "w.pt"), "name it ….safetensors"),
        (None, (), "got nothing there"),
    ],
)
def test_what_cannot_be_converted(
    pellucid: Run, tmp_path: Path, content: object, options: tuple[str, ...], said: str
) -> None:
    if content is not None:
        torch.save(content, tmp_path / "best.pt")
    before = sorted(tmp_path.iterdir())
    result = pellucid("convert", str(tmp_path / "best.pt"), *options)
    assert result.exit_code in (2, 3)
    assert said in one_line(result)
    assert sorted(tmp_path.iterdir()) == before


def test_the_command_of_a_refusal_saves_a_state_dict(pellucid: Run, tmp_path: Path) -> None:
    """What has no weights of its own says how to save them where its code is."""
    torch.save(nn.ReLU(), tmp_path / "best.pt")
    words = shlex.split(one_line(pellucid("convert", str(tmp_path / "best.pt"))).partition("code is: ")[2])
    assert words[:2] == ["python", "-c"]
    exec(words[2], {})
    assert torch.load(tmp_path / "best-weights.pt") == {}
