"""Whether a checkpoint's classes exclude one another: by its loss, its task or its findings, else a question."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torchvision.models import resnet18

import pellucid
from pellucid.models.checkpoints.stated_head import find_head

CASES: list[tuple[Any, str | None]] = [
    ({"loss": "BCEWithLogitsLoss"}, "sigmoid"),
    ({"config": {"criterion": "bce_with_logits"}}, "sigmoid"),
    ({"hyper_parameters": {"loss_fn": "torch.nn.CrossEntropyLoss"}}, "softmax"),
    ({"config": {"model": {"problem_type": "multi_label_classification"}}}, "sigmoid"),
    ({"config": {"task": "multi-class"}}, "softmax"),
    ({"config": {"multilabel": True}}, "sigmoid"),
    ({"config": {"multi_label": False}}, "softmax"),
    ({"pathologies": ["Effusion", "Mass"]}, "sigmoid"),
    ({"config": {"training": {"loss": {"loss_name": "binary_cross_entropy"}}}}, "sigmoid"),
    ({"config": {"head": "sigmoid"}}, "sigmoid"),
    ({"loss": 0.4321}, None),
    ({"loss": "bce", "config": {"task": "multiclass"}}, None),
    ({"config": {"loss": "focal"}}, None),
    ({"config": {"loss": ["bce"], "multilabel": "yes", "findings": "all"}}, None),
    ([1, 2], None),
    (None, None),
]


@pytest.mark.parametrize(("content", "expected"), CASES, ids=range(len(CASES)))
def test_what_is_said_of_the_classes(content: Any, expected: str | None) -> None:
    assert find_head(content) == expected


def saved(path: Path, **more: Any) -> Path:
    torch.manual_seed(0)
    torch.save({"model_state_dict": resnet18(num_classes=14).state_dict(), **more}, path)
    return path


def explained(path: Path, **options: Any) -> tuple[pellucid.Explanation, torch.nn.Module, list[str]]:
    model = pellucid.load_model("torchvision:resnet18", path)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = pellucid.explain(model, torch.zeros(1, 3, 64, 64), "saliency", **options)
    return found, model, [str(one.message) for one in caught if "does not say whether" in str(one.message)]


def test_fourteen_findings_are_fourteen_sigmoids(tmp_path: Path) -> None:
    found, model, messages = explained(saved(tmp_path / "a.pt", config={"loss": "BCEWithLogitsLoss"}))
    assert (found.head, messages) == ("sigmoid", [])
    own = model(torch.zeros(1, 3, 64, 64)).sigmoid()
    torch.testing.assert_close(found.probabilities, own, atol=1e-6, rtol=0)


def test_what_is_not_said_is_asked_in_one_line(tmp_path: Path) -> None:
    found, _, (message,) = explained(saved(tmp_path / "a.pt"))
    assert found.head == "softmax"
    assert "\n" not in message
    found, _, messages = explained(saved(tmp_path / "a.pt"), head="sigmoid")
    assert (found.head, messages) == ("sigmoid", [])
