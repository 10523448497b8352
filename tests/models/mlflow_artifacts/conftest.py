"""What tests find on the server: models, files and graphs, which a process of its own logs there once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision.models import get_model

from tests.mlflow_server import Server
from tests.models import test_checkpoint_layouts as layouts

WRAPPED_VIT = "wrapped ViT"


@dataclass(frozen=True)
class Published:
    """What was logged to the server, and the folder that it was logged from.

    ``model``, ``exported``, ``kept``, ``graph`` and ``one_file`` are identifiers of logged models.
    """

    folder: Path
    run: str
    model: str
    exported: str
    kept: str
    graph: str
    one_file: str
    files: list[str]


@pytest.fixture(scope="session")
def published(mlflow_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Published:
    folder = tmp_path_factory.mktemp("published")
    write_layouts(folder)
    write_graph(folder)
    command = [sys.executable, str(Path(__file__).parent / "publishing.py"), mlflow_server.uri, str(folder)]
    quiet = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true", "GIT_PYTHON_REFRESH": "quiet"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=quiet)
    assert done.returncode == 0, done.stderr
    return Published(folder, **json.loads(done.stdout.strip().splitlines()[-1]))


@pytest.fixture
def on_the_server(mlflow_server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server.uri)


def write_layouts(folder: Path) -> None:
    """Write a file of each layout of checkpoints, in a folder of its own below ``layouts`` or ``wrapped``."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for kind, files in (("layouts", trainers()), ("wrapped", wrapped())):
            for name, (file, content) in files.items():
                (folder / kind / name).mkdir(parents=True)
                torch.save(content, folder / kind / name / file)


def trainers() -> dict[str, tuple[str, object]]:
    """By the trainers' layout: the name of a file, and its content."""
    network = layouts.varied(get_model(layouts.NAME, num_classes=layouts.CLASSES))
    return {name: (file, content(network.state_dict())) for name, (file, content) in layouts.LAYOUTS.items()}


def wrapped() -> dict[str, tuple[str, object]]:
    """By kind of wrapped network: the same."""
    states = {name: layouts.varied(build()).state_dict() for name, (_, build) in layouts.WRAPPED.items()}
    states[WRAPPED_VIT] = layouts.wrapped_transformer().state_dict()
    return {
        name: ("best.pt", {"model_state_dict": state, "config": layouts.Config()}) for name, state in states.items()
    }


def small() -> nn.Module:
    """The network of the graph; its weights are large enough for MLflow to write them apart."""
    layers = nn.Conv2d(3, 16, 5), nn.ReLU(), nn.Conv2d(16, 8, 3), nn.AdaptiveAvgPool2d(2), nn.Flatten()
    return nn.Sequential(*layers, nn.Linear(32, 3)).eval()


def write_graph(folder: Path) -> None:
    """Write a network, and the graph that torch makes of it."""
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(5)
        network = small()
        torch.save(network.state_dict(), folder / "small.pt")
        axes = {"image": {0: "batch"}, "logits": {0: "batch"}}
        torch.onnx.export(
            network,
            (torch.zeros(2, 3, 32, 32),),
            str(folder / "graph.onnx"),
            dynamo=False,
            input_names=["image"],
            output_names=["logits"],
            dynamic_axes=axes,
        )
