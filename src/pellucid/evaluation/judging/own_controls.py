"""Each method against its own negative control: paired differences, and how far the shuffles scatter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from pellucid.evaluation.evaluation import Spread
from pellucid.evaluation.judging.overlap import means_of_columns
from pellucid.evaluation.measured import Column, MetricFacts
from pellucid.statistics import Interval, difference

Table = npt.NDArray[np.float64]
"""Values of findings in each shuffle, (N, shuffles); NaN where there is none."""


def differences_of(
    own: Mapping[str, Column], control: Mapping[str, Column], patients: Sequence[str], facts: MetricFacts, seed: int
) -> dict[str, Interval]:
    """The mean of own − control over the findings (N,) of each method, with its 95 % interval by patient.

    It is positive where a method is better than its own control; where lower is better the sign is turned. A finding
    without one of the two values is left out and counted.
    """
    sign = -1.0 if facts.better == "lower" else 1.0
    return {
        name: difference(sign * own[name], sign * column, patients, generator=np.random.default_rng(seed))
        for name, column in control.items()
        if name in own
    }


def over_shuffles(table: Table) -> Column:
    """The mean (N,) of each finding over the shuffles; NaN where it has no value in any."""
    return means_of_columns(table.T)


def spreads_of(tables: Mapping[str, Table]) -> dict[str, Spread]:
    """The mean of all shuffles, the lowest and the highest, by method; none where no shuffle has a value."""
    means = {name: means_of_columns(table) for name, table in tables.items()}
    known = {name: each[~np.isnan(each)] for name, each in means.items()}
    return {
        name: Spread(float(each.mean()), float(each.min()), float(each.max()), len(each))
        for name, each in known.items()
        if len(each)
    }


def by_partner(table: Table, partners: npt.NDArray[np.int64]) -> Table:
    """The values by the finding whose mask was scored instead of the one whose map it was; both (N, shuffles).

    >>> by_partner(np.array([[0.1], [0.2], [0.3]]), np.array([[2], [0], [-1]])).tolist()
    [[0.2], [nan], [0.1]]
    """
    found = np.full(table.shape, np.nan)
    rows, columns = np.nonzero(partners >= 0)
    found[partners[rows, columns], columns] = table[rows, columns]
    return found
