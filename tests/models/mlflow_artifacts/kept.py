"""What MLflow keeps, written by hand: a folder of records, and a model's artifacts."""

from __future__ import annotations

from pathlib import Path

import torch
from torchvision.models import squeezenet1_1

MODEL, RUN = "m-" + "a" * 32, "b" * 32
TORCH = """
flavors:
  python_function: {code: code, data: data, loader_module: mlflow.pytorch}
  pytorch: {code: code, model_data: data, pytorch_version: '2.14'}
"""
STATED = """
metadata: {classes: [effusion, nodule, none], mean: [0.4, 0.4, 0.4], std: [0.2, 0.2, 0.2]}
signature: {inputs: '[{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 3, 96, 80]}}]'}
"""


def network() -> torch.nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return squeezenet1_1(num_classes=3).eval()


def artifacts(folder: Path, description: str = TORCH + STATED, content: object = None) -> Path:
    """A model as ``mlflow.pytorch.log_model`` writes it."""
    (folder / "data").mkdir(parents=True)
    (folder / "MLmodel").write_text(description)
    torch.save(network() if content is None else content, folder / "data" / "model.pth")
    (folder / "data" / "pickle_module_info.txt").write_text("mlflow.pytorch.pickle_module")
    return folder


def records(root: Path, location: Path | str, run: Path | str = "nowhere") -> Path:
    """A folder with one registered model of one version, which has an alias, a logged model and a run."""
    for path, text in {
        "models/chest/meta.yaml": "name: chest",
        "models/chest/version-1/meta.yaml": f"version: 1\nsource: models:/{MODEL}\nstorage_location: '{location}'",
        "models/chest/aliases/champion": "1",
        f"7/models/{MODEL}/meta.yaml": f"name: net\nartifact_location: '{location}'\nsource_run_id: {RUN}",
        f"7/models/{MODEL}/params/image_size": "64",
        f"7/{RUN}/meta.yaml": f"artifact_uri: '{run}'",
    }.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return root
