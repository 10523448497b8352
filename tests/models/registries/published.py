"""The registry of the published trainer, as far as its files go: what it writes, and what it can read."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import nn


@dataclass
class Record:
    """Its fields, and no others: a record with one more is an error."""

    model_key: str
    version: int
    architecture: str
    checkpoint_path: str
    tag: str | None = None
    created_at: str = ""
    config: dict[str, Any] | None = None
    metrics: dict[str, Any] | None = None
    model_info: dict[str, Any] | None = None
    epoch: int | None = None
    step: int | None = None
    extra_state: dict[str, Any] | None = None


class Published:
    """Reads the index once, and writes it whole."""

    def __init__(self, root: Path) -> None:
        self.root, self.index = root, root / "index.json"
        root.mkdir(parents=True, exist_ok=True)
        found = json.loads(self.index.read_text()) if self.index.is_file() else {"models": {}}
        self.models = {key: [Record(**each) for each in found["models"][key]] for key in found["models"]}

    def save(self, key: str, model: nn.Module, config: object = None, **more: Any) -> Record:
        known = self.models.setdefault(key, [])
        version = max((each.version for each in known), default=0) + 1
        content = {
            "model_state": model.state_dict(),
            "optimizer_state": None,
            "scheduler_state": None,
            "model_key": key,
            "version": version,
            "architecture": type(model).__name__,
            "metrics": more.get("metrics", {}),
            "config": config or {},
            "epoch": 3,
            "step": 100,
            "extra_state": {},
        }
        name = f"{key}_v{version}.pt"
        torch.save(content, self.root / name)
        stated = config if isinstance(config, dict) else None
        record = Record(
            key, version, type(model).__name__, name, created_at=datetime.now(UTC).isoformat(), config=stated, **more
        )
        known.append(record)
        self.write()
        return record

    def write(self) -> None:
        models = {key: [asdict(each) for each in known] for key, known in self.models.items()}
        content = {"schema_version": 1, "updated_at": datetime.now(UTC).isoformat(), "models": models}
        self.index.write_text(json.dumps(content, indent=2, sort_keys=True))

    def versions(self, key: str) -> list[int]:
        return sorted(each.version for each in self.models[key])
