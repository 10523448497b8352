"""The explanations of several layers as one: their heatmaps are combined, or their attributions added."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from pellucid.core.attribution import Attribution
from pellucid.core.explanation import Explanation
from pellucid.core.space import degenerate, heatmap, upsample


def fused(fuse: str, each: Sequence[Explanation], size: tuple[int, ...]) -> Explanation:
    """The explanations of layers, one each and in network order, as one that has them as ``by_layer``.

    ``fuse`` is one of ``FUSIONS``, ``size`` the image's.
    """
    joined = _summed(each, size) if fuse == SUM else _combined(HEATMAP_FUSIONS[fuse], each)
    layers = tuple(name for one in each for name in one.layers)
    return replace(joined, layers=layers, by_layer=dict(zip(layers, each, strict=True)))


def _combined(fusion: Callable[[Tensor], Tensor], each: Sequence[Explanation]) -> Explanation:
    """The layers' heatmaps as one; all else is the last layer's."""
    return replace(
        each[-1],
        heatmaps=fusion(torch.stack([one.heatmaps for one in each])),
        degenerate=torch.stack([one.degenerate for one in each]).all(dim=0),
        why_degenerate=_why_all(each),
    )


def _summed(each: Sequence[Explanation], size: tuple[int, ...]) -> Explanation:
    """The sum of the layers' unscaled attributions on the image's grid: each has a part of the score."""
    values = torch.stack([upsample(one.attributions, size) for one in each]).sum(dim=0)
    return replace(
        each[-1],
        heatmaps=heatmap(values, size),
        attributions=values,
        degenerate=degenerate(values),
        why_degenerate=Attribution(values).why_degenerate(),
    )


def _why_all(each: Sequence[Explanation]) -> tuple[tuple[str | None, ...], ...]:
    """The reason why a fused map shows nothing: the last layer's, where all layers show nothing."""
    flags = torch.stack([one.degenerate for one in each]).all(dim=0).tolist()
    rows = zip(each[-1].why_degenerate, flags, strict=True)
    return tuple(
        tuple(reason if flag else None for reason, flag in zip(reasons, row, strict=True)) for reasons, row in rows
    )


def _weighted(maps: Tensor) -> Tensor:
    weights = torch.linspace(0.5, 1, len(maps), dtype=maps.dtype, device=maps.device)
    return torch.einsum("l,l...->...", weights / weights.sum(), maps)


def _mean(maps: Tensor) -> Tensor:
    return maps.mean(dim=0)


def _max(maps: Tensor) -> Tensor:
    return maps.amax(dim=0)


SUM = "sum"
"""The sum of unscaled attributions, not of heatmaps."""
HEATMAP_FUSIONS: dict[str, Callable[[Tensor], Tensor]] = {"mean": _mean, "max": _max, "weighted": _weighted}
"""How the heatmaps (L, B, K, *space) of several layers, first to last, are combined."""
FUSIONS = ("mean", "max", "weighted", "sum")
"""The ways to combine several layers."""
