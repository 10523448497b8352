"""What tests of explanations share: layers of the small network, equal explanations, refusals."""

from __future__ import annotations

import pytest
import torch

import pellucid
from pellucid.errors import PellucidError

EXACT = {"rtol": 0, "atol": 1e-5}
THREE = ["features.0", "features.2", "features.4"]


def same(one: pellucid.Explanation, other: pellucid.Explanation) -> None:
    for name in ("heatmaps", "attributions", "logits", "targets", "degenerate"):
        torch.testing.assert_close(getattr(one, name), getattr(other, name), **EXACT)
    assert one.why_degenerate == other.why_degenerate


def refused(kind: type[PellucidError], part: str, model: object, batch: object, **options: object) -> None:
    with pytest.raises(kind) as caught:
        pellucid.explain(model, batch, **options)
    assert "\n" not in str(caught.value)
    assert part in str(caught.value), str(caught.value)
