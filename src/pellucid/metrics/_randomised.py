"""How alike a map is to those of random weights or of another class: the arithmetic of the randomisation tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import get_args

import torch
from torch import Tensor

from pellucid.core.metric import METRICS, Comparison, LayerOrder, Metric, Values
from pellucid.core.space import heatmap
from pellucid.errors import OptionError

MADE_NOT_FINITE = "the other map is not finite"
Similarity = Comparison | str
"""A comparison of two maps, or its name."""


def comparison(similarity: Similarity) -> Comparison:
    """A comparison from what was given."""
    found = METRICS.find(similarity)() if isinstance(similarity, str) else similarity
    if not isinstance(found, Comparison):
        known = ", ".join(name for name, cls in sorted(METRICS.registered().items()) if issubclass(cls, Comparison))
        raise OptionError(f"similarity {similarity!r} was given; it must compare two maps: there are {known}")
    return found


def adopt(metric: Metric, similarity: Similarity) -> None:
    """Settle a metric that compares maps: it takes what the comparison does, and the same leaves it unchanged."""
    object.__setattr__(metric, "takes", comparison(similarity).takes)  # frozen
    adopt_changes(metric, similarity)


def adopt_changes(metric: Metric, similarity: Similarity) -> None:
    """Settle a metric that compares maps of its own making: what leaves the comparison unchanged leaves it, too."""
    object.__setattr__(metric, "unchanged_by", comparison(similarity).unchanged_by)  # frozen


def check_order(order: str) -> None:
    """Raise ``OptionError`` for an order of layers that there is not."""
    if order not in get_args(LayerOrder):
        raise OptionError(f"order {order!r} was given; there are {', '.join(get_args(LayerOrder))}")


def against(similarity: Similarity, maps: Tensor) -> Callable[[Tensor], Values]:
    """How much maps (P, *space) are like others; none have a value where the other is not finite."""
    compared = comparison(similarity).against(torch.nan_to_num(maps))

    def alike(others: Tensor) -> Values:
        found = compared(torch.nan_to_num(others))
        broken = ~others.flatten(1).isfinite().all(1)
        return replace(found, missing={MADE_NOT_FINITE: broken, **found.missing})

    return alike


def formed(similarity: Similarity, attributions: Tensor) -> Tensor:
    """Attributions (P, *space) at the image's size as what a similarity takes: their heatmaps, or themselves."""
    takes = comparison(similarity).takes
    return attributions if takes == "attributions" else heatmap(attributions[:, None], attributions.shape[1:])[:, 0]


def mean_over_layers(similarity: Similarity, maps: Tensor, made: Iterator[tuple[str, Tensor]]) -> Values:
    """The mean similarity over layers, of those that have one; ``steps`` holds each layer's."""
    alike = against(similarity, maps)
    found = {name: alike(others) for name, others in made}
    each = torch.stack([one.values for one in found.values()])
    none = each.isnan().all(0)
    reasons = dict.fromkeys(reason for one in found.values() for reason in one.missing)
    missing = {reason: none & _flagged(found, reason, len(none)) for reason in reasons}
    return Values(each.nanmean(0), missing, steps={name: one.values for name, one in found.items()})


def _flagged(found: Mapping[str, Values], reason: str, count: int) -> Tensor:
    """The cases (P,) bool that a reason leaves without a value at any layer."""
    never = torch.zeros(count, dtype=torch.bool)
    return torch.stack([one.missing.get(reason, never).cpu() for one in found.values()]).any(0)
