"""Metrics of maps and masks alone, which need no model: those of localisation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn, cast

import torch
from torch import Tensor

from pellucid.core.metric import Cases, Expectation, Metric, Takes
from pellucid.core.prior import Drawn
from pellucid.core.space import heatmap
from pellucid.errors import OptionError

Maps = Mapping[Takes, Tensor]
"""Maps (P, *space), by what metrics take."""


class _NotThereError(OptionError, AttributeError):
    """What a metric asked of a model, where there is none; also for ``hasattr``."""


@dataclass(frozen=True, eq=False)
class MaskCases:
    """P pairs of a map and a mask, as ``Cases`` for metrics that ask for nothing else."""

    maps: Tensor
    masks: Tensor

    @property
    def has_mask(self) -> Tensor:
        """Every case has a mask."""
        return torch.ones(len(self.masks), dtype=torch.bool)

    def __getattr__(self, name: str) -> NoReturn:
        """Refuse whatever else a metric asks for."""
        raise _NotThereError(
            f"a metric asked for {name!r}; of maps and masks alone only metrics of localisation can be measured: give "
            "a model, or leave the metric out"
        )


def by_masks(metric: Metric, maps: Maps, masks: Tensor) -> Tensor:
    """A metric's values (P,) float64 of maps and masks (P, *space); NaN where there is none."""
    given = maps[metric.takes]
    cases = cast(Cases, MaskCases(torch.nan_to_num(given), masks))
    found = metric.update(cases).values
    return found.masked_fill(~given.flatten(1).isfinite().all(1).cpu(), torch.nan)


def of_random(metric: Metric, prior: Drawn, masks: Tensor, seed: int) -> Tensor:
    """A metric's expectation (P,) over the maps of a prior that is drawn at random, or its mean over the draws."""
    space = tuple(masks.shape[1:])
    if isinstance(metric, Expectation):
        return metric.expected(cast(Cases, MaskCases(masks.float(), masks)), prior.peaks(space)).values
    total = torch.zeros(len(masks), dtype=torch.float64)
    for draw in range(prior.many()):
        values = prior.map_on(space, seed, draw)
        maps: Maps = {"heatmaps": heatmap(values[None, None], space)[0], "attributions": values[None]}
        total += by_masks(metric, {takes: one.expand_as(masks) for takes, one in maps.items()}, masks)
    return total / prior.many()
