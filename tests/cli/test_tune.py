"""``pellucid tune``, and ``explain --fast``, which uses what it kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from typer.testing import Result

from pellucid.run import tuned
from tests.cli.conftest import one_line, save

Command = Callable[..., Result]


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of this test's own for what is kept."""
    monkeypatch.setattr(tuned.platformdirs, "user_cache_path", lambda name: tmp_path / "cache" / name)
    return tmp_path / "cache"


@pytest.fixture
def weights(tmp_path: Path, model: Callable[..., str]) -> tuple[str, ...]:
    """A model whose weights are the same in every run."""
    from tests.networks import seeded

    namespace: dict[str, object] = {}
    exec(Path(model().rpartition(":")[0]).read_text(), namespace)  # the module of the factories
    content = {"state_dict": seeded(namespace["Tiny"]).state_dict(), "loss": "CrossEntropyLoss"}
    torch.save(content, tmp_path / "w.pth")
    return ("--checkpoint", str(tmp_path / "w.pth"))


def tune(pellucid: Command, *arguments: object) -> Result:
    result = pellucid("tune", *arguments)
    assert result.exit_code == 0, result.stderr
    return result


def test_what_was_measured_is_shown(pellucid: Command, model: Command, weights: tuple[str, ...]) -> None:
    result = tune(pellucid, model(), *weights, "--seconds", 0)
    assert "float32" in result.stdout
    assert "kept" in result.stdout
    assert "--fast" in result.stdout
    assert result.stderr == ""


def test_json_is_all_there_is(pellucid: Command, model: Command, weights: tuple[str, ...], tmp_path: Path) -> None:
    image = save(tmp_path / "a.png")
    found = json.loads(tune(pellucid, model(), image, *weights, "--seconds", 1, "--json").stdout)
    assert found[0]["precision"] == "float32"
    assert sum(trial["kept"] for trial in found) == 1
    assert {"time", "forward", "agreement", "channels_last", "compile", "error"} <= set(found[0])


def test_fast_uses_what_was_kept(
    pellucid: Command, explain: Command, model: Command, weights: tuple[str, ...], tmp_path: Path, kept: Path
) -> None:
    tune(pellucid, model(), *weights, "--seconds", 0)
    (file,) = kept.rglob("*.json")
    file.write_text(json.dumps(json.loads(file.read_text()) | {"precision": "bfloat16", "agreement": 0.9999}))
    image = save(tmp_path / "b.png")
    result = explain(image, *weights, "--fast")
    assert (result.exit_code, result.stderr) == (0, "")
    facts = json.loads((tmp_path / "out" / "b_metadata.json").read_text())
    assert facts["provenance"]["runtime"]["precision"] == "bfloat16"
    assert facts["provenance"]["agreement_with_float32"] == 0.9999


def test_fast_says_where_nothing_was_measured(explain: Command, weights: tuple[str, ...], tmp_path: Path) -> None:
    result = explain(save(tmp_path / "b.png"), *weights, "--fast", "-q")
    assert result.exit_code == 0
    one_line(result, "nothing was measured for gradcam", "pellucid tune", kind="warning")
    facts = json.loads((tmp_path / "out" / "b_metadata.json").read_text())
    assert facts["provenance"]["runtime"]["precision"] == "float32"


def test_fast_and_a_precision_are_too_much(explain: Command, tmp_path: Path) -> None:
    result = explain(save(tmp_path / "b.png"), "--fast", "--precision", "bfloat16")
    assert result.exit_code == 2
    one_line(result, "--fast and --precision bfloat16")


@pytest.mark.parametrize(
    ("arguments", "part"),
    [(("--method", "gradcan"), "did you mean gradcam"), (("--device", "tpu9"), "torch has no such device")],
)
def test_wrong_options(pellucid: Command, model: Command, arguments: tuple[str, ...], part: str) -> None:
    result = pellucid("tune", model(), *arguments)
    assert result.exit_code == 2
    one_line(result, part)


def test_volumes_are_drawn_for_a_network_that_takes_them(pellucid: Command, tmp_path: Path) -> None:
    file = tmp_path / "deep.py"
    file.write_text(
        "from torch import nn\ndef make():\n    return nn.Sequential(nn.Conv3d(1, 4, 3), nn.ReLU(), "
        "nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, 2))\n"
    )
    tune(pellucid, f"{file}:make", "--seconds", 0, "--batch-size", 1)


def test_the_folder_that_one_is_in_can_be_tried(
    pellucid: Command, model: Command, weights: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path / "in" / "a.png")
    monkeypatch.chdir(tmp_path / "in")
    tune(pellucid, model(), ".", *weights, "--seconds", 0)


def failing(tmp_path: Path, body: str) -> str:
    file = tmp_path / "failing.py"
    file.write_text(f"from torch import nn\nclass Own(nn.Module):\n    def __init__(self):\n{body}\n")
    return f"{file}:Own"


def test_a_network_that_fails_is_told_of_in_one_line(pellucid: Command, tmp_path: Path) -> None:
    spec = failing(
        tmp_path,
        "        super().__init__()\n        self.fc = nn.Linear(5, 2)\n        self.preprocessing = {'size': (8, 8)}\n"
        "    def forward(self, x):\n        return self.fc(x.flatten(1))",
    )
    result = pellucid("tune", spec, "--seconds", 0)
    assert result.exit_code == 3
    one_line(result, "the model failed on images of shape (3, 8, 8)", "preprocessing")


def test_images_that_differ_in_size_are_refused(pellucid: Command, tmp_path: Path) -> None:
    spec = failing(
        tmp_path,
        "        super().__init__()\n        self.net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1))\n"
        "        self.preprocessing = {'mean': [0.5] * 3, 'std': [0.5] * 3}\n"
        "    def forward(self, x):\n        return self.net(x).flatten(1)",
    )
    images = [save(tmp_path / "a.png", (40, 28)), save(tmp_path / "b.png", (30, 30))]
    result = pellucid("tune", spec, *images, "--seconds", 0)
    assert result.exit_code == 2
    one_line(result, "differ in size")
