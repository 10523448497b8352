"""The shapes that signatures state are those that come: read from the annotations, and compared."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, get_args, get_origin, get_type_hints

import pytest
import torch
from torch import Tensor

import pellucid
from pellucid.core.explanation import Explanation
from tests.networks import TinyCNN, images, seeded

HINTS = get_type_hints(Explanation, include_extras=True, localns={"npt": None})


def stated(hint: object) -> str | None:
    """What a hint says of a tensor, or of a mapping's tensors."""
    inner = get_args(hint)[1] if get_origin(hint) is Mapping else hint
    return get_args(inner)[1] if get_origin(inner) is Annotated else None


def check(name: str, values: Tensor, text: str, sizes: dict[str, tuple[int, ...]]) -> None:
    """Compare a tensor with "dtype (axes)"; an axis means one size throughout."""
    dtype, axes = re.fullmatch(r"(\w+) \((.+)\)", text).groups()
    assert values.dtype == getattr(torch, dtype), name
    left = list(values.shape)
    names = axes.split(", ")
    for position, axis in enumerate(names):
        count = len(left) - (len(names) - position - 1) if axis.startswith("*") else 1
        size, left = tuple(left[:count]), left[count:]
        assert sizes.setdefault(axis, size) == size, f"{name}: {axis}"
    assert not left, name


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("method", ["gradcam", "eigencam", "integrated_gradients", "occlusion"])
def test_an_explanation_has_the_stated_shapes(rank: int, method: str) -> None:
    size = (12, 16, 20)[-rank:]
    found = pellucid.explain(
        seeded(TinyCNN, rank), images(2, rank, size), method, targets=torch.tensor([[0, 1, 3]] * 2)
    )
    sizes: dict[str, tuple[int, ...]] = {}
    texts = {name: stated(hint) for name, hint in HINTS.items() if stated(hint)}
    assert {"heatmaps", "attributions", "logits", "targets", "degenerate", "checks"} == set(texts)
    for name, text in texts.items():
        value = getattr(found, name)
        for tensor in value.values() if isinstance(value, Mapping) else [value]:
            check(name, tensor, text, sizes)
    assert (sizes["B"], sizes["K"], sizes["C"], sizes["*space"]) == ((2,), (3,), (4,), size)
