"""Messages on the command line name its options, and what they say to do works."""

from __future__ import annotations

import ast
import json
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
import typer.main
from torchvision.models import resnet18
from typer.testing import Result

import pellucid as library
from pellucid.cli.main import app
from pellucid.cli.wording import as_options, spoken
from tests.cli.conftest import one_line, save
from tests.networks import trained

Run = Callable[..., Result]
COMMANDS = typer.main.get_command(app).commands
OWN = """
from torch import nn

class Several(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.fc, self.aux = nn.Conv2d(3, 4, 3), nn.Linear(4, 2), nn.Linear(4, 5)
        self.head = "softmax"
        self.preprocessing = {"size": (16, 16), "mean": [0.5] * 3, "std": [0.5] * 3}

    def forward(self, x):
        x = self.conv(x).relu().mean((2, 3))
        return {"finding": self.fc(x), "type": self.aux(x)}

def several():
    return Several().eval()

class Large(Several):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4 * 89 * 89, 2)
        del self.preprocessing

    def forward(self, x):
        return self.fc(self.conv(x).relu().flatten(1))

def large():
    return Large().eval()
"""


CONFIDENT = """
def confident():
    model = make()
    del model.head
    with torch.no_grad():
        model.fc.bias.fill_(3.0)
        model.fc.weight.abs_()
    return model
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("give head='sigmoid' if they can", "give --head sigmoid if they can"),
        ("name one with layers=[…], or use", "name one with --layer, or use"),
        ("take layers=['a.1', 'b']", "take --layer a.1 --layer b"),
        ("as in output='type'", "as in --model-output type"),
        ("batch_size=8 does not fit", "--batch-size 8 does not fit"),
        ("give classes=[…]", "give --classes"),
        ("give select={'time': '2', 'type': 'a b'}; there", "give --select time=2 --select 'type=a b'; there"),
        ("leave out orientation= and spacing=, or", "leave out --orientation and --spacing, or"),
        ("or use weights='none'", "or use --weights none"),
        ("give input_size=(C, H, W), or", "give --size H,W, or"),
        ("targets='all'", "--target all"),
        ("give overwrite=True", "give --overwrite"),
        ("give spec='path/to/file.py:factory', a", "give --model path/to/file.py:factory, a"),
        ("name it with spec= if a library", "name it with --model if a library"),
        ("give spec='hf:a b', checkpoint='a b/c'", "give --model 'hf:a b', --checkpoint 'a b/c'"),
        ("choose with weights_key='ema'", "choose with --weights-key ema"),
        ("explain one, with frame=", "explain one, with --frame"),
        ("or write to another folder", "or choose another --output"),
        ("explain its slices one by one", "explain its slices one by one (--as files)"),
        ("give an image of that many channels", "give a file for each: --channels a.png,b.png,…"),
        ("a.head=3, --set layers=4, other=5", "a.head=3, --set --layer 4, other=5"),
    ],
)
def test_arguments_are_options(text: str, expected: str) -> None:
    with spoken(COMMANDS["explain"].params):
        assert as_options(text) == expected
    assert as_options(text) == text  # where no command runs


def test_each_command_has_its_own_options() -> None:
    with spoken(COMMANDS["layers"].params):
        assert as_options("input_size=(C, H, W), layers=['a']") == "--input-size C,H,W, layers=['a']"
        assert as_options("name it with spec='monai:unet'") == "name it with MODEL monai:unet"
    with spoken(COMMANDS["init"].params):
        assert as_options("spec='a', checkpoint='b.pt'") == "--model a, CHECKPOINT b.pt"
    with spoken(COMMANDS["convert"].params):  # its message is about `pellucid explain`
        assert as_options("give checkpoint= a file, or spec='a'") == "give --checkpoint a file, or --model a"


SPOKEN_TO_PYTHON = ("core", "export", "io", "methods", "metrics", "models", "phantom", "render", "run")
OF_THE_COMMAND_LINE = {
    "phantom/training.py",
    *(
        f"run/{name}.py"
        for name in ("channels", "factory_file", "finding", "job", "labels", "machine", "request", "resuming")
    ),
}
"""Modules that commands alone use."""


def texts(tree: ast.AST) -> Iterator[str]:
    """The strings of a module, but its docstrings."""
    stated = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in stated:
            yield node.value


def test_the_librarys_messages_do_not_speak_of_options() -> None:
    root, found = Path(library.__file__).parent, {}
    for path in sorted(path for package in SPOKEN_TO_PYTHON for path in (root / package).rglob("*.py")):
        name = path.relative_to(root).as_posix()
        spoken_of = [text for text in texts(ast.parse(path.read_text())) if re.search(r"(?<![\w-])--[a-z]", text)]
        if spoken_of and name not in OF_THE_COMMAND_LINE:
            found[name] = spoken_of
    assert found == {}


def remedy(result: Result, before: str, after: str) -> list[str]:
    """The words between two parts of a message."""
    return shlex.split(result.stderr.partition(before)[2].partition(after)[0])


def test_names_of_classes(explain: Run, model: Callable[..., str], tmp_path: Path) -> None:
    scan = save(tmp_path / "a.png")
    result = explain(scan, "--target", "nodule", "-q", "--size", "16", spec=model("plain"))
    assert result.exit_code == 2
    assert "the model's names are not known: give --classes" in result.stderr
    (tmp_path / "names.txt").write_text("a\nb\nnodule\nc\n")
    words = [*remedy(result, "not known: give ", "\n"), tmp_path / "names.txt"]
    assert explain(scan, "--target", "nodule", "-q", "--size", "16", *words, spec=model("plain")).exit_code == 0
    (tmp_path / "names.txt").write_text("a\nb\n")
    fewer = explain(scan, "--classes", tmp_path / "names.txt", "-q", output=tmp_path / "other")
    assert "give one for each with --classes" in fewer.stderr


def test_the_head_of_a_checkpoint(pellucid: Run, tmp_path: Path) -> None:
    network = trained(resnet18(num_classes=3))
    network.fc.weight.data.abs_()  # so that no map is empty
    torch.save(network.state_dict(), tmp_path / "best.pt")
    words = ["explain", save(tmp_path / "a.png"), "--checkpoint", tmp_path / "best.pt", "--size", "32", "--json"]
    words += ["--mean", "0.5", "--std", "0.5", "--output"]
    result = pellucid(*words, tmp_path / "one")
    assert "give --head sigmoid if they can" in result.stderr
    more = remedy(result, "give ", " if they can")
    assert pellucid(*words, tmp_path / "two", *more).stderr == ""


def test_the_head_of_a_users_own_network(explain: Run, model: Callable[..., str], tmp_path: Path) -> None:
    for index in range(5):
        save(tmp_path / "in" / f"{index}.png", seed=index)
    text = Path(model("confident").rpartition(":")[0])
    text.write_text(text.read_text() + CONFIDENT)
    words = ("-q", "--size", "16", "--batch-size", "2")
    result = explain(tmp_path / "in", *words, spec=model("confident"))
    (line,) = result.stderr.splitlines()  # once, and not for each batch
    assert line.startswith("warning: the model does not say whether several classes can be present at once")
    for more in (remedy(result, "give ", " if they can"), remedy(result, "if they can, and ", " if not")):
        done = explain(tmp_path / "in", *words, *more, "--overwrite", spec=model("confident"))
        assert (done.exit_code, done.stderr) == (0, "")
    assert more == ["--head", "softmax"]


def test_several_outputs(explain: Run, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    spec, scan = f"{tmp_path / 'own.py'}:several", save(tmp_path / "a.png")
    result = explain(scan, "-q", spec=spec)
    assert result.exit_code == 3
    words = remedy(result, "choose one, as in ", "\n")
    assert words == ["--model-output", "finding"]
    assert explain(scan, "-q", *words, spec=spec).exit_code == 0


def test_the_size_of_the_input(explain: Run, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN)
    spec, scan = f"{tmp_path / 'own.py'}:large", save(tmp_path / "a.png")
    result = explain(scan, "-q", spec=spec)
    assert "give --size H,W" in one_line(result)
    done = explain(scan, "-q", "--size", "91,91", "--mean", "0", "--std", "1", spec=spec)
    assert (done.exit_code, done.stderr) == (0, "")


def test_one_of_several_volumes(explain: Run, model: Callable[..., str], tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((8, 9, 10, 3)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / "a.nii")
    result = explain(tmp_path / "a.nii", "--json", spec=model("deep"))
    assert result.exit_code == 3
    assert "select={" not in result.output
    assert json.loads(result.stdout)["images"][0]["error"] in result.stderr.replace("error: ", "")
    words = remedy(result, "it holds 3 volumes: give ", "; there are")
    assert words == ["--select", "time=1"]
    assert explain(tmp_path / "a.nii", "-q", *words, spec=model("deep")).exit_code == 0
    missing = explain(tmp_path / "a.nii", "-q", "--select", "time=9", spec=model("deep"), output=tmp_path / "other")
    assert "--select time=9 was given; its time is 1, 2, 3" in missing.stderr


def test_weights_and_a_checkpoint(pellucid: Run, tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    result = pellucid(
        *("explain", tmp_path / "a.png", "--model", "torchvision:resnet18", "--weights", "default"),
        *("--checkpoint", tmp_path / "best.pt", "-o", tmp_path / "out"),
    )
    assert result.exit_code == 2
    one_line(result, "--weights default and a checkpoint were both given")


@pytest.mark.parametrize("name", ["GradCAM", "grad-cam", "GRADCAM"])
def test_a_method_of_another_spelling(explain: Run, tmp_path: Path, name: str) -> None:
    result = explain(save(tmp_path / "a.png"), "--method", name)
    assert result.exit_code == 2
    one_line(result, f"method '{name}' was asked for", "did you mean gradcam?")


# Devices and targets.


def test_a_gpu_is_whatever_there_is(explain: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pellucid.cli.request import chosen_device

    for cuda, mps, found in ((True, False, "cuda"), (False, True, "mps"), (True, True, "cuda")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda cuda=cuda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda mps=mps: mps)
        assert chosen_device("gpu") == chosen_device("GPU") == found
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    result = explain(save(tmp_path / "a.png"), "--device", "gpu")
    assert result.exit_code == 2
    one_line(result, "--device gpu was given; torch sees no GPU here: give --device cpu")
    assert explain(tmp_path / "a.png", "-q", *remedy(result, "here: give ", ", and")).exit_code == 0
    one_line(explain(tmp_path / "a.png", "--device", "cuda"), "use --device cpu or --device auto")


NAMES = ["tench, Tinca tinca", "No_Finding", "crane (bird), crane", "crane"]


@pytest.mark.parametrize(
    ("targets", "numbers"),
    [
        (["tinca TINCA"], {0}),
        (["tench, tinca tinca"], {0}),
        (["no finding"], {1}),
        (["No_Finding,tench"], {0, 1}),
        (["0, crane"], {0, 3}),
        (["0,1", "crane (bird)"], {0, 1, 2}),
    ],
)
def test_targets_by_each_of_their_names(explain: Run, tmp_path: Path, targets: list[str], numbers: set[int]) -> None:
    (tmp_path / "names.txt").write_text("\n".join(NAMES))
    words = [word for target in targets for word in ("--target", target)]
    done = explain(save(tmp_path / "a.png"), "--classes", tmp_path / "names.txt", "--json", *words)
    assert done.exit_code == 0, done.stderr
    assert {one["class"] for one in json.loads(done.stdout)["images"][0]["explained"]} == numbers


@pytest.mark.parametrize(
    ("target", "part"),
    [
        ("tench,cran", "class 'cran' was asked for; the model does not have it; did you mean crane"),
        ("a,b", "class 'a,b' was asked for"),
        ("all,tench", "give --target all alone"),
        ("tench,", "class 'tench,' was asked for"),
        ("tenc", "did you mean tench, Tinca tinca?"),
    ],
)
def test_targets_that_are_not_there(explain: Run, tmp_path: Path, target: str, part: str) -> None:
    (tmp_path / "names.txt").write_text("\n".join(NAMES))
    result = explain(save(tmp_path / "a.png"), "--classes", tmp_path / "names.txt", "--target", target, "-q")
    assert result.exit_code == 2
    one_line(result, part)


def test_a_name_of_two_classes_is_not_chosen(explain: Run, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("drake, bird\ncrane, bird\nb\nc\n")
    result = explain(save(tmp_path / "a.png"), "--classes", tmp_path / "names.txt", "--target", "bird", "-q")
    assert result.exit_code == 2
    one_line(result, "class 'bird' was asked for; classes [0, 1] all have that name: give the number")
