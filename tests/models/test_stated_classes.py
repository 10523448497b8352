"""The class names that a checkpoint states: read where they are plain data, and as many as the classes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torchvision.models import shufflenet_v2_x0_5

import pellucid

NAMES = ("effusion", "nodule", "no finding")
FACTORY = """
from torchvision.models import shufflenet_v2_x0_5
def build(num_classes=3):
    model = shufflenet_v2_x0_5(num_classes=num_classes)
    model.classes = ["one", "two", "three"]
    return model
"""


def classes(folder: Path, beside: Mapping[str, Any], count: int = 3, spec: str | None = None) -> tuple[str, ...] | None:
    state = shufflenet_v2_x0_5(num_classes=count).state_dict()
    torch.save({"state_dict": state, **beside}, folder / "best.pt")
    return pellucid.model_info(pellucid.load_model(spec, folder / "best.pt")).classes


@pytest.mark.parametrize(
    "beside",
    [
        {"classes": list(NAMES)},
        {"class_names": NAMES},
        {"class_to_idx": {"no finding": 2, "effusion": 0, "nodule": 1}},
        {"idx_to_class": {1: "nodule", 0: "effusion", 2: "no finding"}},
        {"config": {"data": {"labels": list(NAMES)}}},
        {"label2id": {name: str(index) for index, name in enumerate(NAMES)}},
        {"id2label": {str(index): name for index, name in enumerate(NAMES)}},
        {"names": dict(enumerate(NAMES)), "classes": list(NAMES)},
        {"meta": {"CLASSES": NAMES}},
        {"hyper_parameters": {"findings": list(NAMES), "layers": ["a", "b", "c"]}},
    ],
)
def test_names_are_read(tmp_path: Path, beside: Mapping[str, Any]) -> None:
    assert classes(tmp_path, beside) == NAMES


@pytest.mark.parametrize(
    "beside",
    [
        {"classes": list(NAMES[:2])},
        {"classes": ["a", "a", "b"]},
        {"classes": ["a", "b", 3]},
        {"classes": ["a", "b", "c\x1b[2J"]},
        {"classes": ["a", "b", "c" * 5000]},
        {"classes": list(NAMES), "class_names": ["a", "b", "c"]},
        {"class_to_idx": {"a": 1, "b": 2, "c": 3}},
        {"class_weights": {"a": 0.1, "b": 0.2, "c": 0.7}},
        {"layers": ["a", "b", "c"]},
        {"classes": torch.ones(3)},
        {"id2label": {index: f"LABEL_{index}" for index in range(3)}},
        {"classes": {1: 2, 3: 4, 5: 6}},
    ],
)
def test_what_are_no_names_of_these_classes(tmp_path: Path, beside: Mapping[str, Any]) -> None:
    assert classes(tmp_path, beside) is None


def test_a_thousand_classes_of_the_checkpoint_are_not_those_of_imagenet(tmp_path: Path) -> None:
    names = tuple(f"own {number}" for number in range(1000))
    assert classes(tmp_path, {"classes": names}, 1000) == names


def test_a_settings_file_beside_the_weights(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"label_names": NAMES}))
    assert classes(tmp_path, {}) == NAMES


def test_the_users_own_code_knows_better(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(FACTORY)
    assert classes(tmp_path, {"classes": NAMES}, spec=f"{tmp_path / 'own.py'}:build") == ("one", "two", "three")
