"""``Figures``: what was measured of the fixed batch after an epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.core.explanation import Explanation
from pellucid.core.metric import Comparison, Metric, Values
from pellucid.core.scores import Scores
from pellucid.statistics import Interval
from pellucid.statistics.samples import Patients


@dataclass(frozen=True, eq=False)
class Figures:
    """The figures of the fixed batch after an epoch.

    ``explanation``: the maps; None where they could not be made. ``drift``: how far the maps
    moved since they were last made, ``hit_rate`` and ``relevance_mass``: whether they lie on the findings, None where
    no masks were given. Each is the mean of the values that there are with its 95 % interval, patients being the units
    (``Scores.interval``), and counts in ``excluded`` the maps without a value. ``scores`` has the value of each map,
    and the reason where there is none. ``degenerate``: how many maps show nothing; ``changed``: of how many maps the
    class changed, which only "predicted" targets do.
    """

    epoch: int
    explanation: Explanation | None
    scores: Scores | None
    drift: Interval
    hit_rate: Interval | None = None
    relevance_mass: Interval | None = None
    degenerate: int = 0
    changed: int = 0

    @property
    def intervals(self) -> dict[str, Interval]:
        """The figures that there are, by name."""
        named = {"drift": self.drift, "hit_rate": self.hit_rate, "relevance_mass": self.relevance_mass}
        return {name: interval for name, interval in named.items() if interval is not None}

    def values(self) -> dict[str, float]:
        """All numbers by name, as they are logged: the figures, the ends of their intervals, and the counts.

        NaN where there is none: an interval is withheld where its coverage was not shown (``pellucid.statistics``).
        """
        found: dict[str, float] = {}
        for name, interval in self.intervals.items():
            found |= {name: interval.estimate, f"{name}_low": interval.low, f"{name}_high": interval.high}
        found["drift_without_value"] = self.drift.excluded
        return {**found, "degenerate": self.degenerate, "changed": self.changed}


def measured(
    epoch: int,
    explanation: Explanation,
    values: Mapping[str, Values],
    metrics: Mapping[str, Metric | Comparison],
    patients: Patients,
    changed: int,
) -> Figures:
    """The figures of an explanation, of values (B·K,) by name."""
    shape = tuple(explanation.targets.shape)
    scores = Scores(
        {name: one.values.reshape(shape) for name, one in values.items()},
        {name: _rows(one, shape[1]) for name, one in values.items()},
        metrics,
        explanation.targets.cpu(),
    )
    intervals = {name: scores.interval(name, patients) for name in values}
    return Figures(
        epoch,
        explanation,
        scores,
        intervals["drift"],
        intervals.get("hit_rate"),
        intervals.get("relevance_mass"),
        int(explanation.degenerate.sum()),
        changed,
    )


def failed(epoch: int, *, with_masks: bool) -> Figures:
    """The figures of an epoch after which the batch could not be explained: none."""
    none = Interval(math.nan, math.nan, math.nan, 0, 0, withheld="the batch could not be explained")
    located = none if with_masks else None
    return Figures(epoch, None, None, none, located, located)


def _rows(values: Values, columns: int) -> tuple[tuple[str | None, ...], ...]:
    reasons = values.reasons()
    return tuple(tuple(reasons[start : start + columns]) for start in range(0, len(reasons), columns))


def lost(explanation: Explanation) -> Tensor:
    """Which maps (B, K) are not finite, as of a network whose weights are not."""
    finite: Tensor = (
        explanation.attributions.flatten(2).isfinite().all(2) & explanation.logits.isfinite().all(1)[:, None]
    )
    return ~finite.to(torch.bool).cpu()
