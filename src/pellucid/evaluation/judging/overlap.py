"""The overlap of maps with findings: over all thresholds, and at one that was tuned on other patients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from numpy.random import Generator

from pellucid.evaluation.evaluation import Tuned
from pellucid.evaluation.judging.figures import SCORE, figure
from pellucid.evaluation.measured import THRESHOLDS

FOLDS = 5
Table = npt.NDArray[np.float64]


def curves_of(overlaps: Mapping[str, Table]) -> dict[str, tuple[float, ...]]:
    """The mean overlap at each threshold, by method; NaN where no map has a value."""
    return {method: tuple(means_of_columns(table).tolist()) for method, table in overlaps.items()}


def means_of_columns(table: Table) -> Table:
    """The mean of each column, NaN being left out; NaN for a column without values."""
    known = ~np.isnan(table)
    counts = known.sum(axis=0)
    sums = np.where(known, table, 0.0).sum(axis=0)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def tuned_of(
    overlaps: Mapping[str, Table],
    patients: Sequence[str],
    chosen_on: Mapping[str, Table],
    seed: int,
) -> tuple[Tuned, ...]:
    """The overlap (IoU) of each method with a threshold that was tuned on other patients.

    ``overlaps`` are tables (N, thresholds), ``patients`` (N,) whose each finding is. The threshold with the greatest
    mean overlap on ``chosen_on``, tables of the split that the plan chooses on, is used for all findings. Without such
    a table the patients are divided into 5 folds at random, and each fold has the threshold that is best on the other
    four; where several are, the lowest. With one patient there is none to tune on.
    """
    folds = folds_of(patients, np.random.default_rng(seed))
    found = []
    for method, table in overlaps.items():
        training = chosen_on.get(method, np.zeros((0, table.shape[1])))
        known = int(np.isfinite(training).any(axis=1).sum())
        best = [_best(training)] if known else [_best(table[folds != fold]) for fold in _all(folds)]
        if not best or None in best:
            continue
        where = folds if len(best) > 1 else np.zeros(len(table), dtype=np.intp)
        columns = np.array(best, dtype=np.intp)
        values = table[np.arange(len(table)), columns[where]]
        thresholds = tuple(THRESHOLDS[column] for column in columns.tolist())
        found.append(Tuned(method, figure(values, SCORE, patients, seed), thresholds, known))
    return tuple(found)


def _all(folds: npt.NDArray[np.intp]) -> Sequence[int]:
    """The numbers of the folds; none where there is one only."""
    count = int(folds.max(initial=-1)) + 1
    return range(count) if count > 1 else ()


def folds_of(patients: Sequence[str], generator: Generator) -> npt.NDArray[np.intp]:
    """The fold (N,) of each finding: at most 5, of as many patients each as can be, in a random order.

    >>> folds_of(list("aabbc"), np.random.default_rng(0)).tolist()
    [2, 2, 0, 0, 1]
    """
    number = {patient: index for index, patient in enumerate(dict.fromkeys(patients))}
    order = generator.permutation(len(number)) % FOLDS
    return np.array([order[number[patient]] for patient in patients], dtype=np.intp)


def _best(table: Table) -> int | None:
    """The threshold with the greatest mean; None where no map has a value."""
    means = means_of_columns(table)
    return None if np.isnan(means).all() else int(np.nanargmax(means))
