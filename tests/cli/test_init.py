"""``pellucid init``: a file with a checkpoint's network, which gives the same results as the checkpoint."""

from __future__ import annotations

import ast
import io
import json
import subprocess
import sys
import tokenize
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from typer.testing import Result

from pellucid.run.factory_file import Facts, comment, factory_file, literal
from tests.cli.conftest import one_line, save
from tests.networks import trained

Run = Callable[..., Result]
HOSTILE = [
    '"""',
    "'''\nimport os; os.abort()",
    '"]; raise SystemExit  #',
    "\\",
    "a\r\nb",
    "\u202e\u2028",
    "é 肺 🫁",
    "\x00",
]


def resnet(classes: int = 3) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return trained(torchvision.models.resnet18(num_classes=classes)).eval()


def vit() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return timm.create_model("vit_tiny_patch16_224", num_classes=2).eval()


def saved(path: Path, model: nn.Module, **beside: object) -> Path:
    torch.save({"state_dict": model.state_dict(), **beside}, path)
    return path


def explained(pellucid: Run, tmp_path: Path, *model: str) -> dict[str, object]:
    output = tmp_path / f"out{len(list(tmp_path.iterdir()))}"
    quick = ("--method", "saliency")  # needs no layer
    result = pellucid("explain", str(save(tmp_path / "x.png", (90, 70))), *model, *quick, "--output", str(output))
    assert result.exit_code == 0, result.output
    (found,) = output.glob("*.json")
    return dict(json.loads(found.read_text())["prediction"])


def well_written(path: Path) -> bool:
    ruff = [sys.executable, "-m", "ruff", "format", "--check", "--isolated", str(path)]
    return subprocess.run(ruff, capture_output=True, check=False).returncode == 0


def test_the_file_gives_what_the_checkpoint_gives(pellucid: Run, tmp_path: Path) -> None:
    checkpoint, file = saved(tmp_path / "best.pt", resnet()), tmp_path / "model.py"
    result = pellucid("init", str(checkpoint), "--output", str(file))
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        f"{file}: torchvision:resnet18, 3 classes; 4 lines are marked as assumed: check them",
        f"use it with: pellucid explain IMAGE --model {file}:build --output results",
    ]
    assert well_written(file)
    assert file.read_text().count("\n    # assumed: ") + file.read_text().count("\n# assumed: ") == 4
    own = explained(pellucid, tmp_path, "--model", f"{file}:build")
    assert own == explained(pellucid, tmp_path, "--checkpoint", str(checkpoint))


def test_what_the_checkpoint_states_is_not_assumed(pellucid: Run, tmp_path: Path) -> None:
    config = {"arch": "resnet18", "loss": "BCEWithLogitsLoss", "mean": [0.4], "std": [0.3], "image_size": 64}
    checkpoint = saved(tmp_path / "best.pt", resnet(), config=config, classes=["a", "b", "c"])
    file = tmp_path / "model.py"
    assert "; 0 lines are marked" in pellucid("init", str(checkpoint), "--output", str(file)).stdout
    text = file.read_text()
    for line in ('HEAD: str | None = "sigmoid"', "    resize=(64, 64),", "    mean=(0.4, 0.4, 0.4),", '    "b",'):
        assert f"\n{line}\n" in text
    own = explained(pellucid, tmp_path, "--model", f"{file}:build")
    assert (own["head"], own["class_names"]) == ("sigmoid", ["a", "b", "c"])
    assert own == explained(pellucid, tmp_path, "--checkpoint", str(checkpoint))


def test_where_several_fit_the_file_says_what_to_fill_in(pellucid: Run, tmp_path: Path) -> None:
    checkpoint, file = saved(tmp_path / "best.pt", vit()), tmp_path / "model.py"
    result = pellucid("init", str(checkpoint), "--output", str(file))
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"fill in ARCHITECTURE in {file}" in result.stderr
    assert well_written(file)
    image, output = str(save(tmp_path / "x.png")), str(tmp_path / "out")
    refused = pellucid("explain", image, "--model", f"{file}:build", "--output", output)
    assert "ARCHITECTURE is not filled in: uncomment one of the candidates" in one_line(refused)
    candidate = '# ARCHITECTURE = "timm:vit_tiny_patch16_224"\n'  # the remedy: uncomment one of them
    text = file.read_text()
    assert candidate in text
    file.write_text(text.replace('ARCHITECTURE = ""\n', "").replace(candidate, candidate.removeprefix("# ")))
    spec = ("--model", "timm:vit_tiny_patch16_224", "--checkpoint", str(checkpoint))
    own = explained(pellucid, tmp_path, "--model", f"{file}:build")
    assert own == explained(pellucid, tmp_path, *spec)
    named = pellucid("init", str(checkpoint), *spec[:2], "--output", str(tmp_path / "named.py"))
    assert named.exit_code == 0, named.output
    assert own == explained(pellucid, tmp_path, "--model", f"{tmp_path / 'named.py'}:build")


def test_an_unknown_architecture_is_not_passed_over(pellucid: Run, tmp_path: Path) -> None:
    checkpoint, file = saved(tmp_path / "best.pt", nn.Sequential(nn.Linear(3, 2))), tmp_path / "model.py"
    result = pellucid("init", str(checkpoint), "--output", str(file))
    assert result.exit_code == 1
    assert "no architecture was recognised" in result.stderr.splitlines()[0]
    assert well_written(file)


def test_nothing_is_replaced_unasked(pellucid: Run, tmp_path: Path) -> None:
    checkpoint, file = saved(tmp_path / "best.pt", resnet()), tmp_path / "model.py"
    command = ("init", str(checkpoint), "--output", str(file))
    assert pellucid(*command).exit_code == 0
    first = file.read_text()
    assert pellucid(*command).exit_code == 0  # the same file again is the same file
    file.write_text(first.replace("None", "None  # mine"))
    result = pellucid(*command)
    assert (result.exit_code, "# mine" in file.read_text()) == (3, True)
    assert one_line(result) == f"error: {file} is already there: remove it, or replace it with --overwrite"
    assert pellucid(*command, "--overwrite").exit_code == 0
    assert file.read_text() == first


@pytest.mark.parametrize(
    ("options", "said"),
    [(("--output", "model.txt"), "name it ….py"), (("--model", "timm:no_such"), "no_such"), ((), "nothing there")],
)
def test_wrong_usage_writes_nothing(pellucid: Run, tmp_path: Path, options: tuple[str, ...], said: str) -> None:
    checkpoint = tmp_path / "best.pt" if not options else saved(tmp_path / "best.pt", resnet())
    before = sorted(tmp_path.iterdir())
    result = pellucid(
        "init", str(checkpoint), *(options if "--output" in options else (*options, "-o", str(tmp_path / "m.py")))
    )
    assert result.exit_code in (2, 3)
    assert said in one_line(result)
    assert sorted(tmp_path.iterdir()) == before


@given(st.text(st.characters()))
def test_any_text_is_a_literal(text: str) -> None:
    assert ast.literal_eval(literal(text)) == text
    assert literal(text).isprintable()


@given(st.text())
def test_any_text_is_one_comment(text: str) -> None:
    tokens = list(tokenize.generate_tokens(io.StringIO(comment(text) + "\n").readline))
    assert [tokenize.tok_name[token.type] for token in tokens] == ["COMMENT", "NL", "ENDMARKER"]


def test_names_from_a_checkpoint_are_no_code(tmp_path: Path) -> None:
    """Every text from a file, as somebody hostile would write it: the module has nothing but what it should."""
    text = "".join(HOSTILE)
    known = Facts(
        tmp_path / text.replace("\x00", ""),
        text,
        text,
        classes=HOSTILE,
        classes_stated=True,
        head=text,
        notes=HOSTILE,
        candidates=HOSTILE,
    )
    for facts in (known, replace(known, spec=None, problem=text)):
        tree = ast.parse(factory_file(facts, tmp_path / "model.py"))
        kinds = [type(node).__name__ for node in tree.body]
        assert kinds == ["Expr", *["ImportFrom"] * 2, "Import", *["Assign"] * 4, *["AnnAssign"] * 3, "FunctionDef"]
        assigned = {ast.unparse(node.target): node.value for node in tree.body if isinstance(node, ast.AnnAssign)}
        value = assigned["CLASSES"]
        assert value is not None
        assert ast.literal_eval(value) == HOSTILE


def test_hostile_names_in_a_checkpoint_come_back_as_they_are(pellucid: Run, tmp_path: Path) -> None:
    names = ['"]; raise SystemExit  #', "'''", 'b"\\']
    checkpoint, file = saved(tmp_path / "best.pt", resnet(), classes=names), tmp_path / "model.py"
    assert pellucid("init", str(checkpoint), "--output", str(file)).exit_code == 0
    assert explained(pellucid, tmp_path, "--model", f"{file}:build")["class_names"] == names
