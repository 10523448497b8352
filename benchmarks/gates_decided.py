"""The criterion of ``docs/gates.md``, as functions of maps and of their resemblances. No network is needed here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from pellucid.core.explanation import Explanation
from pellucid.metrics import SSIM, Spearman
from pellucid.metrics._ranks import is_constant
from pellucid.metrics.emprt import histogram_entropy
from pellucid.run.judged_maps import form_of
from pellucid.statistics import Interval, mean

RESEMBLANCES = ("SSIM, signed", "SSIM, positive", "Spearman, signed", "Spearman, positive")
FEWEST = 100
"""Images with a value from which on a resemblance is decided."""
BINS = 100
"""The bins of ``emprt``."""
Outcome = Literal["passes", "fails", "undecided"]
Values = Sequence[float | None]
"""A value of each image; None where there is none."""


@dataclass(frozen=True, eq=False)
class Maps:
    """The maps of N images and one class each at the image's size: as they are, and their positive part in [0, 1].

    Both are (N, *space).
    """

    signed: Tensor
    heat: Tensor

    @classmethod
    def of(cls, explanation: Explanation) -> Maps:
        """The maps of an explanation of one class of each image."""
        return cls(*(form_of(explanation, takes)[:, 0] for takes in ("attributions", "heatmaps")))

    @classmethod
    def cat(cls, parts: Sequence[Maps]) -> Maps:
        """Several batches as one."""
        return cls(torch.cat([one.signed for one in parts]), torch.cat([one.heat for one in parts]))


def resemblances(one: Maps, other: Maps) -> dict[str, Tensor]:
    """How alike two maps of each image are, (N,) float64 each; NaN where one of the two shows nothing."""
    found = (
        _compared(SSIM(), _from_zero(one.signed), _from_zero(other.signed)),
        _compared(SSIM(), one.heat, other.heat),
        _compared(Spearman(), one.signed, other.signed),
        _compared(Spearman(), one.heat, other.heat),
    )
    return dict(zip(RESEMBLANCES, found, strict=True))


def _from_zero(maps: Tensor) -> Tensor:
    """Signed maps within [0, 1], where 0.5 stands for 0.

    Where means may be negative, ``SSIM`` is positive for a map and its opposite.
    """
    most = maps.flatten(1).abs().amax(1).reshape(-1, *(1,) * (maps.ndim - 1))
    scaled: Tensor = maps / torch.where(most > 0, most, 1)
    return (scaled + 1) / 2


def _compared(metric: SSIM | Spearman, one: Tensor, other: Tensor) -> Tensor:
    values: Tensor = metric.update(torch.nan_to_num(one), torch.nan_to_num(other)).values
    return values.masked_fill((_shows_nothing(one) | _shows_nothing(other)).to(values.device), torch.nan)


def _shows_nothing(maps: Tensor) -> Tensor:
    """Which maps (N, *space) are constant or not finite."""
    flat = maps.flatten(1)
    return ~flat.isfinite().all(1) | is_constant(flat)


def rise(trained: Tensor, random: Tensor) -> Tensor:
    """``emprt`` of signed maps (N, *space): (N,) float64; NaN where the trained network's map shows nothing."""
    before, after = (histogram_entropy(maps, BINS) for maps in (trained, random))
    undefined = (_shows_nothing(trained) | ~random.flatten(1).isfinite().all(1)).to(before.device)
    return torch.where(undefined, torch.nan, (after - before) / before)


@dataclass(frozen=True)
class Side:
    """The mean of a resemblance over images with its 95 % limits, and the number of images with a value."""

    mean: float
    low: float
    high: float
    count: int


def side(values: Values) -> Side:
    """The mean over images and its limits; both limits are the mean where nearly all values are equal."""
    known = [value for value in values if value is not None]
    if len(known) < FEWEST:
        estimate = float(np.mean(known)) if known else float("nan")
        return Side(estimate, float("nan"), float("nan"), len(known))
    found = _interval(tuple(known))
    limits = (found.low, found.high) if found.withheld is None else (found.estimate, found.estimate)
    return Side(found.estimate, *limits, len(known))


@cache
def _interval(values: tuple[float, ...]) -> Interval:
    """The interval of a mean; kept, since a page asks for each several times, and each resamples the images."""
    return mean(values, generator=np.random.default_rng(0))


def decided(random: Side, seeds: Side) -> Outcome:
    """Whether one resemblance passes: random maps are less like the trained ones than those of other seeds."""
    if min(random.count, seeds.count) < FEWEST:
        return "undecided"
    return "passes" if random.high < seeds.low else "fails"


def outcome(each: Sequence[Outcome]) -> Outcome:
    """Whether a pair of method and layer passes: all of its resemblances do."""
    if "fails" in each:
        return "fails"
    return "undecided" if "undecided" in each else "passes"


def averaged(each: Sequence[Values]) -> list[float | None]:
    """The mean of each image's values over randomisations or seeds, of those that it has."""
    found = []
    for own in zip(*each, strict=True):
        known = [value for value in own if value is not None]
        found.append(sum(known) / len(known) if known else None)
    return found


def missing(each: Sequence[Values]) -> int:
    """How many comparisons have no value."""
    return sum(value is None for own in each for value in own)


def pair(cell: Mapping[str, Any]) -> dict[str, tuple[Side, Side]]:
    """Both sides of each resemblance, of what was stored of a pair of method and layer."""
    seeds = list(cell["seeds"].values())
    return {
        name: (side(cell["random"][name]["images"]), side(averaged([own[name] for own in seeds])))
        for name in RESEMBLANCES
    }
