"""What the tests of registries share: small networks, and records written by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pellucid import ModelRegistry

FACTORY = """
from torch import nn

def make(num_classes=3):
    layers = nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, num_classes)
    return nn.Sequential(*layers)
"""


def tiny(seed: int = 0) -> nn.Module:
    """A network of a user's own, as ``FACTORY`` makes it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
        return nn.Sequential(*layers).eval()


def factory(folder: Path) -> str:
    """The specification of the user's own network."""
    (folder / "mine.py").write_text(FACTORY)
    return f"{folder / 'mine.py'}:make"


def logits(model: nn.Module, side: int = 32) -> Tensor:
    images = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        return model(images)


def indexed(root: Path, *records: Mapping[str, Any], key: str = "chest", **content: Any) -> ModelRegistry:
    """A registry with these records."""
    root.mkdir(exist_ok=True)
    whole = {"schema_version": 1, "models": {key: list(records)}, **content}
    (root / "index.json").write_text(json.dumps(whole))
    return ModelRegistry(root)


def recorded(path: object, version: object = 1, **more: Any) -> dict[str, Any]:
    return {"version": version, "checkpoint_path": path, **more}


def tree(folder: Path) -> dict[str, bytes | None]:
    """Every file below a folder with its content."""
    paths = sorted(folder.rglob("*"))
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in paths}


def scores(folder: Path, claim: str = "better than every prior") -> Path:
    """The folder of an evaluation."""
    rows = [
        {"method": "gradcam", "is_prior": False, "verdict": {"method": "gradcam", "claim": claim}},
        {"method": "centre", "is_prior": True, "verdict": None},
    ]
    folder.mkdir()
    (folder / "scores.json").write_text(json.dumps({"primary": "pointing_game", "rows": rows, "scores": {}}))
    return folder
