"""How tests compare explanations."""

from __future__ import annotations

import torch

import pellucid


def same(one: pellucid.Explanation, other: pellucid.Explanation) -> None:
    """Two explanations of the same layers with the same maps and logits."""
    assert one.layers == other.layers
    torch.testing.assert_close(one.attributions, other.attributions)
    torch.testing.assert_close(one.logits, other.logits)
