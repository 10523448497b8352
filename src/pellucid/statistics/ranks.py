"""Ranks of methods under several metrics, and how far two rankings agree."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from pellucid.errors import OptionError
from pellucid.statistics.arrays import numbers
from pellucid.statistics.distributions import Array
from pellucid.statistics.samples import sample


@dataclass(frozen=True)
class Rank:
    """A method's ranks, 1 being the best: by metric, NaN where it has no value, and how they spread.

    ``mean``, ``best`` and ``worst`` are over the metrics that rank it, NaN if none does.
    """

    method: str
    by_metric: Mapping[str, float]
    mean: float
    best: float
    worst: float

    @property
    def spread(self) -> float:
        """The worst rank minus the best: 0 where the metrics agree."""
        return self.worst - self.best

    def __str__(self) -> str:
        return f"{self.method}: {self.mean:.1f} ({self.best:g} to {self.worst:g})"


def ranks(metrics: Mapping[str, Mapping[str, float]]) -> tuple[Rank, ...]:
    """The methods' ranks under each metric, by their mean rank; larger values are better.

    ``metrics`` maps a metric to its value for each method. Equal values share the mean of their ranks. A method without
    a value (NaN) has no rank there. A mean rank is no evidence by itself: metrics contradict each other, so the best
    and the worst rank stand beside it.

    >>> table = {"hits": {"gradcam": 0.6, "rise": 0.4}, "deletion": {"gradcam": -0.3, "rise": -0.2}}
    >>> for rank in ranks(table):
    ...     print(rank)
    gradcam: 1.5 (1 to 2)
    rise: 1.5 (1 to 2)

    Raises:
        OptionError: there is no metric, what is given has no names, or the metrics are not of the same methods.
        ShapeError: a value is not a number.
    """
    _check_named(metrics)
    methods = list(next(iter(metrics.values()), {}))
    for metric, values in metrics.items():
        if set(values) != set(methods):
            other = ", ".join(sorted(map(str, set(values) ^ set(methods))))
            raise OptionError(f"each metric must have a value for every method, {metric} differs in: {other}")
    if not methods:
        raise OptionError("at least one metric of one method is needed, got none")
    columns = {name: _ranked(numbers(name, [values[method] for method in methods])) for name, values in metrics.items()}
    found = [
        _rank(method, {name: float(column[index]) for name, column in columns.items()})
        for index, method in enumerate(methods)
    ]
    return tuple(sorted(found, key=lambda rank: (math.isnan(rank.mean), rank.mean)))


def _check_named(metrics: object) -> None:
    given = metrics if isinstance(metrics, Mapping) else {"": metrics}
    for name, values in given.items():
        if not isinstance(values, Mapping):
            what = f" of {name}" if name else ""
            raise OptionError(
                f"metrics{what} must have a value for each method, got {type(values).__name__}: write "
                "{'hits': {'gradcam': 0.6}}"
            )


def _ranked(values: Array) -> Array:
    """Ranks (N,) of values (N,), 1 for the largest; equal ones share the mean, NaN has none."""
    above = (values[None, :] > values[:, None]).sum(axis=1)
    same = (values[None, :] == values[:, None]).sum(axis=1)
    return np.where(np.isnan(values), np.nan, above + (same + 1) / 2)


def _rank(method: str, by_metric: dict[str, float]) -> Rank:
    known = [rank for rank in by_metric.values() if not math.isnan(rank)] or [math.nan]
    return Rank(method, by_metric, sum(known) / len(known), min(known), max(known))


@dataclass(frozen=True)
class Agreement:
    """Kendall's τ of ``count`` entries; NaN where ``undefined`` says why. ``excluded`` others had a value missing."""

    tau: float
    count: int
    excluded: int
    undefined: str | None = None

    def __str__(self) -> str:
        return f"τ = {self.tau:.2f} of {self.count}" if self.undefined is None else f"no τ: {self.undefined}"


def kendall(first: ArrayLike, second: ArrayLike) -> Agreement:
    """Kendall's τ_b of two scores (N,) of the same methods, such as faithfulness under two baselines.

    Of the pairs of methods, (ordered alike − ordered oppositely) / √(pairs untied in first · pairs untied in second)
    (Kendall 1945, doi:10.1093/biomet/33.3.239): 1 where the rankings agree, −1 where one is the other reversed. It is
    undefined with fewer than two methods, or where one score is the same for all. NaN is excluded and counted.

    >>> print(kendall([0.1, 0.4, 0.3, 0.9], [0.2, 0.3, 0.5, 0.8]))
    τ = 0.67 of 4

    Raises:
        OptionError: a value is infinite.
        ShapeError: the arrays are not (N,), or differ in length.
    """
    found = sample({"first": first, "second": second})
    upper = np.triu_indices(found.count, 1)
    one, other = (np.sign(column[upper[0]] - column[upper[1]]) for column in found.values.T)
    untied = math.sqrt(float(np.abs(one).sum()) * float(np.abs(other).sum()))
    if not untied:
        reason = "one score is the same for all methods" if found.count > 1 else "fewer than two methods have scores"
        return Agreement(math.nan, found.count, found.excluded, reason)
    return Agreement(float(one @ other) / untied, found.count, found.excluded)
