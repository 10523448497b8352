"""``pellucid layers``: the tree, the mark, JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torchvision
from typer.testing import Result

from tests.cli.conftest import one_line

Run = Callable[..., Result]
Model = Callable[..., str]


def test_the_tree_marks_the_recommended(pellucid: Run, model: Model) -> None:
    result = pellucid("layers", model())
    assert result.exit_code == 0
    (marked,) = [line for line in result.stdout.splitlines() if "recommended" in line]
    assert "── 3  12 × " in marked or "features.3" in marked
    for name in ("features", "features.0", "features.3", "fc"):
        assert name in result.stdout
    assert result.stdout.splitlines()[0].strip() == model()


def test_names_in_brackets_stay(pellucid: Run, model: Model, tmp_path: Path) -> None:
    source = Path(model().rpartition(":")[0])
    other = source.with_name("[red]:cat:.py")
    other.write_text(source.read_text())
    result = pellucid("layers", f"{other}:make")
    assert result.exit_code == 0, result.output
    assert "[red]:cat:.py:make" in result.stdout


def test_json(pellucid: Run, model: Model) -> None:
    found = json.loads(pellucid("layers", model(), "--json").stdout)
    assert found["recommended"] == ["features.3"]
    assert found["shapes"]["features.0"] == [8, 112, 112]
    assert found["shapes"]["fc"] == [4]
    found = json.loads(pellucid("layers", model(), "--json", "--input-size", "3, 40,20").stdout)
    assert found["shapes"]["features.3"] == [12, 10, 5]
    assert json.loads(pellucid("layers", model(), "--json", "--input-size", "40,20").stdout) == found


@pytest.mark.parametrize("size", ["3,x,2", "-3,2,2", "0,0", "", "3,,2"])
def test_sizes_that_are_none(pellucid: Run, model: Model, size: str) -> None:
    result = pellucid("layers", model(), f"--input-size={size}")
    assert result.exit_code == 2
    one_line(result, "--input-size", "3,224,224")


def test_sizes_that_the_model_does_not_take(pellucid: Run, model: Model) -> None:
    result = pellucid("layers", model("flat"), "--input-size", "3,9,9")
    assert result.exit_code == 3
    one_line(result, "give --input-size C,H,W")


def test_a_model_without_places(pellucid: Run, model: Model) -> None:
    result = pellucid("layers", model("flat"), "--input-size", "3,8,8")
    assert result.exit_code == 3
    one_line(result, "more than one spatial position")


def test_a_model_that_is_not_there(pellucid: Run) -> None:
    result = pellucid("layers", "torchvision:resnet5000")
    assert result.exit_code == 2
    one_line(result)


def test_a_checkpoint_alone(pellucid: Run, tmp_path: Path) -> None:
    torch.save(torchvision.models.resnet18(num_classes=3).state_dict(), tmp_path / "best.pt")
    assert "layer4" in pellucid("layers", "--checkpoint", str(tmp_path / "best.pt")).stdout
