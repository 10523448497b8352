"""What tests of explanations share: one of two images, the names of its tensors, and equality."""

from __future__ import annotations

import torch

import pellucid
from pellucid.core.explanation import Explanation
from tests.networks import TinyCNN, images, seeded

ARRAYS = ("heatmaps", "attributions", "logits", "targets", "degenerate")


def two_images() -> Explanation:
    """Two images with two maps each, at two layers; the second image is not finite."""
    batch = images(2)
    batch[1] = float("nan")
    return pellucid.explain(
        seeded(TinyCNN),
        batch,
        targets=torch.tensor([[0, 3], [1, 2]]),
        layers=["features.0", "features.2"],
        classes=["a", "b", "c", "ü"],
    )


def assert_equal(one: Explanation, other: Explanation) -> None:
    for array in ARRAYS:
        torch.testing.assert_close(getattr(one, array), getattr(other, array), rtol=0, atol=0, equal_nan=True)
    for fact in ("method", "layers", "head", "classes", "why_degenerate", "provenance"):
        assert getattr(one, fact) == getattr(other, fact)
    assert list(one.checks) == list(other.checks)
    for name, values in one.checks.items():
        torch.testing.assert_close(values, other.checks[name], rtol=0, atol=0, equal_nan=True)
    assert list(one.by_layer) == list(other.by_layer)
    for layer, own in one.by_layer.items():
        assert_equal(own, other.by_layer[layer])
