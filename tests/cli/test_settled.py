"""``pellucid explain`` of a version whose explanation settings a registry keeps: they stand for what is not named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from typer.testing import CliRunner, Result

import pellucid
from pellucid import ExplanationSettings, ModelInfo, ModelRegistry, Preprocessing
from pellucid.cli.main import app

NAMES = ("effusion", "nodule", "none")
SETTINGS = ExplanationSettings(
    "finercam", {"alpha": "0.5", "references": "1"}, ("features.7", "features.10"), "nodule", "sigmoid", "max"
)


@pytest.fixture
def registry(tmp_path: Path) -> ModelRegistry:
    """A registry whose second version has settings, and the first has none."""
    model = pellucid.load_model("torchvision:squeezenet1_1", num_classes=3)
    prepared = Preprocessing((48, 48), None, (0.5,) * 3, (0.25,) * 3, source="a test")
    info = ModelInfo("torchvision:squeezenet1_1", NAMES, "softmax", prepared, weights="checkpoint")
    registry = ModelRegistry(tmp_path / "models")
    registry.save("chest", model, info=info)
    registry.save("chest", model, info=info, explanation=SETTINGS)
    pixels = np.random.default_rng(0).integers(0, 255, (48, 48, 3), dtype=np.uint8)
    Pillow.fromarray(pixels).save(tmp_path / "scan.png")
    return registry


def run(registry: ModelRegistry, *words: str, model: str = "chest") -> Result:
    folder = registry.root.parent
    given = () if "--checkpoint" in words else ("--model", f"registry:{registry.root}/{model}")
    return CliRunner().invoke(
        app, ["explain", str(folder / "scan.png"), *given, "--output", str(folder / "out"), "--no-page", *words]
    )


def facts(registry: ModelRegistry) -> dict[str, Any]:
    (path,) = (registry.root.parent / "out").glob("*_metadata.json")
    found = json.loads(path.read_text())
    return {**found, **found["provenance"], "head": found["prediction"]["head"]}


pytestmark = pytest.mark.filterwarnings("ignore::pellucid.PellucidWarning")


def test_what_is_not_named_is_that_of_the_version(registry: ModelRegistry) -> None:
    done = run(registry)
    assert done.exit_code == 0, done.stderr
    found = facts(registry)
    assert (found["method"], found["layers"], found["fuse"]) == ("finercam", ["features.7", "features.10"], "max")
    assert found["options"] == {"alpha": 0.5, "references": 1}
    assert (found["target_class"], found["head"]) == (1, "sigmoid")
    assert found["model"]["settings_from"] == f"registry:{registry.root}/chest@2"
    assert found["model"]["settings_taken"] == ["method", "options", "layers", "fuse", "target", "head"]
    assert "--layer" in done.stderr
    assert "chest@2" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_the_maps_are_those_of_the_same_arguments_in_python(registry: ModelRegistry, tmp_path: Path) -> None:
    assert run(registry, "--export", "png,npz").exit_code == 0
    (path,) = (tmp_path / "out").glob("*.npz")
    written = pellucid.load_explanation(path)
    model = registry.load("chest")
    prepared = pellucid.prepare(model, pellucid.read_image(tmp_path / "scan.png"))
    kept = registry.explanation("chest")
    found = pellucid.explain(model, prepared, **kept.arguments())
    torch.testing.assert_close(written.heatmaps, found.heatmaps, rtol=0, atol=1e-5)
    assert (written.layers, written.targets.tolist()) == (found.layers, [[1]])


@pytest.mark.parametrize(
    ("words", "expected", "taken"),
    [
        (
            ["--layer", "features.4"],
            {"layers": ["features.4"], "fuse": "max"},
            ["method", "options", "fuse", "target", "head"],
        ),
        (["--target", "0"], {"target_class": 0, "layers": ["features.7", "features.10"]}, None),
        (
            ["--head", "softmax", "--fuse", "mean"],
            {"head": "softmax", "fuse": "mean"},
            ["method", "options", "layers", "target"],
        ),
        (["--method", "finercam"], {"fuse": "max"}, ["options", "layers", "fuse", "target", "head"]),
        (["--method", "saliency"], {"method": "saliency", "target_class": 1, "head": "sigmoid"}, ["target", "head"]),
        (
            ["--set", "alpha=0.25"],
            {"layers": ["features.7", "features.10"]},
            ["method", "options", "layers", "fuse", "target", "head"],
        ),
    ],
)
def test_what_is_named_stands(
    registry: ModelRegistry, words: list[str], expected: dict[str, Any], taken: list[str] | None
) -> None:
    done = run(registry, *words, "--quiet")
    assert done.exit_code == 0, done.stderr
    assert done.stderr == ""
    found = facts(registry)
    assert {key: found[key] for key in expected} == expected
    if taken is not None:
        assert found["model"]["settings_taken"] == taken
    if words[0] == "--set":
        assert found["options"] == {"alpha": 0.25, "references": 1}


def test_a_version_without_settings_is_explained_as_ever(registry: ModelRegistry) -> None:
    done = run(registry, model="chest@1")
    assert done.exit_code == 0
    found = facts(registry)
    assert (found["method"], found["fuse"], found["head"]) == ("gradcam", "mean", "softmax")
    assert "settings_from" not in found["model"]
    assert done.stderr == ""


def test_a_checkpoint_of_a_registry_has_its_settings_too(registry: ModelRegistry) -> None:
    spec = f"registry:{registry.root}/chest@latest"
    assert run(registry, "--checkpoint", spec).exit_code == 0
    assert facts(registry)["model"]["settings_from"] == f"registry:{registry.root}/chest@2"


def test_settings_and_weights_are_of_one_version(registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """A version that is saved between the two is not explained by the settings of another."""
    from pellucid.cli import request

    load = request.load_model

    def late(spec: str | None, *rest: Any, **more: Any) -> torch.nn.Module:
        registry.save("chest", pellucid.load_model("torchvision:squeezenet1_1", num_classes=3))
        return load(spec, *rest, **more)

    monkeypatch.setattr(request, "load_model", late)
    assert run(registry).exit_code == 0
    assert registry.versions("chest") == (1, 2, 3)
    assert facts(registry)["model"]["registered"] == facts(registry)["model"]["settings_from"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"method": "gradcm"}, "gradcm"),
        ({"layers": "layer4"}, "settings in index.json"),
        ({"options": {"a": "1"}}, "a"),
    ],
)
def test_settings_that_are_broken(registry: ModelRegistry, change: dict[str, Any], reason: str) -> None:
    path = registry.root / "index.json"
    index = json.loads(path.read_text())
    index["models"]["chest"][1]["extra_state"]["pellucid"]["explanation"] |= change
    path.write_text(json.dumps(index))
    done = run(registry)
    assert done.exit_code in (2, 3)
    assert reason in done.stderr
    assert not list((registry.root.parent / "out").glob("*")) or not (registry.root.parent / "out").exists()
