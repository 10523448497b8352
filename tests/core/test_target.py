"""Targets: every form that a user may ask in, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from pellucid.core.target import Targets
from pellucid.errors import TargetError

LOGITS = torch.tensor([[0.0, 3.0, 1.0], [5.0, -1.0, 2.0]])
NAMES = ("normal", "effusion", "Nodule")


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        ("predicted", [[1], [0]]),
        ("all", [[0, 1, 2], [0, 1, 2]]),
        (2, [[2], [2]]),
        (np.int64(2), [[2], [2]]),
        ("EFFUSION", [[1], [1]]),
        ([2, 0], [[2], [0]]),
        (("nodule", 0), [[2], [0]]),
        (torch.tensor([1, 2]), [[1], [2]]),
        (torch.tensor([[1, 2], [0, 0]], dtype=torch.int32), [[1, 2], [0, 0]]),
    ],
)
def test_forms(request_: object, expected: list[list[int]]) -> None:
    targets = Targets(request_, NAMES)
    targets.check_count(2)
    indices = targets.indices(LOGITS)
    assert indices.dtype == torch.int64
    assert indices.tolist() == expected
    assert torch.equal(targets.scores(LOGITS), LOGITS.gather(1, torch.tensor(expected)))
    assert targets.count(LOGITS) == len(expected[0])


def test_a_callable_says_what_is_explained() -> None:
    targets = Targets(lambda logits: logits[:, 1] - logits[:, 0])
    assert torch.equal(targets.scores(LOGITS), torch.tensor([[3.0], [-6.0]]))
    assert targets.indices(LOGITS).tolist() == [[-1], [-1]]
    many = Targets(lambda logits: logits[:, :2] * 2)
    assert torch.equal(many.scores(LOGITS), LOGITS[:, :2] * 2)
    assert many.count(LOGITS) == 2


def test_parts_are_parts() -> None:
    whole = torch.arange(6).reshape(2, 3) % 3
    for request in ("all", whole, lambda logits: logits):
        targets = Targets(request)
        assert torch.equal(targets.columns(1, 3).scores(LOGITS), targets.scores(LOGITS)[:, 1:3])
        assert torch.equal(targets.columns(1, 3).indices(LOGITS), targets.indices(LOGITS)[:, 1:3])
    for request in (whole, [2, 0], "all", 1):
        part = Targets(request).images(1, 2)
        assert torch.equal(part.indices(LOGITS[1:]), Targets(request).indices(LOGITS)[1:])


def asked(targets: Targets) -> Tensor:
    targets.check_count(2)
    return targets.scores(LOGITS)


def wrong(request: object, *parts: str, names: tuple[str, ...] | None = NAMES) -> None:
    with pytest.raises(TargetError) as caught:
        asked(Targets(request, names))
    assert "\n" not in str(caught.value)
    for part in parts:
        assert part in str(caught.value), str(caught.value)


@pytest.mark.parametrize("index", [3, -1, [0, 7], torch.tensor([0, 7])])
def test_classes_out_of_range(index: object) -> None:
    wrong(index, "3 classes, 0 to 2")


@pytest.mark.parametrize("index", [10**30, -(10**30)])
def test_numbers_beyond_all_models(index: int) -> None:
    wrong(index, str(index), "no model has that many")


def test_wrong_counts() -> None:
    wrong([1, 2, 3], "3 images", "2 images")
    wrong(torch.tensor([1]), "1 images", "2 images")
    wrong([], "0 images")


def test_wrong_types() -> None:
    wrong(1.5, "got float")
    wrong(None, "got NoneType")
    wrong([[1], [2]], "got list")
    wrong(torch.tensor([1.0, 2.0]), "whole numbers", "float32")
    wrong(torch.tensor([True, False]), "bool")
    wrong(torch.zeros(2, 1, 1, dtype=torch.long), "(2, 1, 1)")
    wrong(torch.tensor(1), "(B,) or (B, K)")
    wrong(torch.zeros(2, 0, dtype=torch.long), "(2, 0)")


def test_wrong_names() -> None:
    wrong("efusion", "did you mean effusion")
    wrong("normal", "give classes=", names=None)
    wrong("mass", "[0, 2]", "give the number", names=("mass", "x", "Mass"))


@pytest.mark.parametrize(
    ("function", "part"),
    [
        (lambda logits: logits.sum(), "got ()"),
        (lambda logits: logits[:1], "got (1, 3)"),
        (lambda logits: logits[None], "got (1, 2, 3)"),
        (lambda logits: 3.0, "got float"),
    ],
)
def test_callables_that_give_no_scores(function: object, part: str) -> None:
    wrong(function, part)


def test_scores_can_be_differentiated() -> None:
    logits: Tensor = LOGITS.clone().requires_grad_()
    Targets([2, 0]).scores(logits).sum().backward()
    assert logits.grad.tolist() == [[0, 0, 1], [1, 0, 0]]


# Maps of logits (B, C, H, W).

MAPS = torch.randn(2, 3, 4, 6, generator=torch.Generator().manual_seed(4))


def fitted(request: object, size: tuple[int, ...] = (4, 6), **more: object) -> Targets:
    return Targets(request, NAMES, **more).fitted(2, size)


@pytest.mark.parametrize("request_", ["all", 1, [2, 0], torch.tensor([[1, 2], [0, 0]]), "predicted"])
def test_a_class_of_a_map_scores_its_mean(request_: object) -> None:
    means = MAPS.flatten(2).mean(dim=2)
    targets = fitted(request_)
    torch.testing.assert_close(targets.scores(MAPS), means.gather(1, targets.indices(means)))
    assert torch.equal(targets.indices(MAPS), targets.indices(means))


def test_a_resolved_prediction_is_the_class_of_the_first_logits() -> None:
    resolved = Targets("predicted").resolved(LOGITS)
    assert resolved.scores(-LOGITS).tolist() == [[-3.0], [-5.0]]
    second = resolved.images(1, 2).repeated(2)
    assert second.indices(-LOGITS).tolist() == [[0], [0]]
    assert second.scores(LOGITS).tolist() == [[0.0], [5.0]]
