"""From values of images to figures: intervals by patient, correlations, the worst cases."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from pellucid.evaluation.judging.figures import SCORE, figure
from pellucid.evaluation.measured import Column, MetricFacts
from pellucid.robustness import scorer as columns
from pellucid.robustness.measuring import Measured
from pellucid.robustness.plan import WITHIN
from pellucid.robustness.result import CHANGE, EMPTY, HIT, MOVED, Level, Together, Worst
from pellucid.statistics import Interval, rank_correlation

_SHARE = MetricFacts(better=None, proportion=True, needs_mask=False)
_NAMES = {MOVED: columns.MOVED, CHANGE: columns.CHANGE, HIT: columns.HIT, EMPTY: columns.EMPTY}
_SHARES = (MOVED, HIT, EMPTY)


def levels_of(found: Measured, seed: int) -> Iterator[Level]:
    """The figures of each method after each change at each level."""
    for method, steps in found.steps.items():
        for step, own in zip(found.scorer.steps, steps, strict=True):
            stated = {name: _figure(found, name, own[column], seed) for name, column in _NAMES.items()}
            alike = {label: _figure(found, label, own[label], seed) for label in found.scorer.metrics}
            yield Level(method, step.change, step.level, {**stated, **alike})


def clean_of(found: Measured, seed: int) -> dict[str, dict[str, Interval]]:
    """By method, how many maps hit, and how many show nothing, before any change."""
    return {
        method: {name: _figure(found, name, own[_NAMES[name]], seed) for name in (HIT, EMPTY)}
        for method, own in found.clean.items()
    }


def between_of(found: Measured, seed: int) -> dict[str, dict[str, Interval]]:
    """By method, how much maps of different images with the same predicted class are alike."""
    return {
        method: {label: _figure(found, label, own[label], seed) for label in found.scorer.metrics}
        for method, own in found.clean.items()
    }


def _figure(found: Measured, name: str, values: Sequence[float | None], seed: int) -> Interval:
    return figure(column(values), _SHARE if name in _SHARES else SCORE, found.looked.patients, seed)


def column(values: Sequence[float | None]) -> Column:
    """Values (N,), NaN where there is none."""
    return np.array([math.nan if value is None else value for value in values], dtype=np.float64)


def together_of(found: Measured) -> Iterator[Together]:
    """By method, how far answers and maps move together under attacks: where the answer moved, and where it held."""
    for method, steps in found.steps.items():
        attacked = [own for step, own in zip(found.scorer.steps, steps, strict=True) if step.is_attack and step.level]
        patients = [one for _ in attacked for one in found.looked.patients]
        moved, change, alike = (
            np.concatenate([np.zeros(0), *(column(own[name]) for own in attacked)])
            for name in (columns.MOVED, columns.CHANGE, WITHIN)
        )
        yield Together(method, *(_together(change, 1 - alike, moved == is_moved, patients) for is_moved in (1, 0)))


def _together(answers: Column, maps: Column, chosen: Any, patients: Sequence[str]) -> Interval:
    whose = [patient for patient, is_chosen in zip(patients, chosen.tolist(), strict=True) if is_chosen]
    return rank_correlation(answers[chosen], maps[chosen], whose)


def worst_of(found: Measured) -> Iterator[Worst]:
    """For each method and change the map that moved most, and the map that moved least while the answer moved."""
    for method, steps in found.steps.items():
        for change in dict.fromkeys(step.change for step in found.scorer.steps):
            own = [
                (step.level, column(values[WITHIN]), column(values[columns.MOVED]))
                for step, values in zip(found.scorer.steps, steps, strict=True)
                if step.change == change and step.level
            ]
            for kind, is_moved, sign in (("map moved", 0, 1.0), ("answer moved", 1, -1.0)):
                each = [(level, np.where(moved == is_moved, sign * alike, np.nan)) for level, alike, moved in own]
                for least, level, number in _least(each):
                    image = found.looked.cases[number].case.name
                    yield Worst(kind, method, change, level, image, sign * least)


def _least(each: Sequence[tuple[float, Column]]) -> Iterator[tuple[float, float, int]]:
    """The smallest value of all levels, its level, and its image's number; nothing where there is no value."""
    known = [(float(np.nanmin(values)), level, values) for level, values in each if np.isfinite(values).any()]
    if known:
        least, level, values = min(known, key=lambda one: one[0])
        yield least, level, int(np.nanargmin(values))


def scores_of(found: Measured) -> Iterator[dict[str, Any]]:
    """The rows of scores.csv."""
    looked, classes = found.looked, found.looked.predicted.classes
    for method, steps in found.steps.items():
        clean = found.clean[method]
        for step, own in zip(found.scorer.steps, steps, strict=True):
            for number, one in enumerate(looked.cases):
                yield {
                    "image": one.case.name,
                    "patient": looked.patients[number],
                    "class": classes[looked.classes[number]],
                    "method": method,
                    "change": step.change,
                    "level": step.level,
                    "probability": (one.probabilities or ())[looked.classes[number]],
                    **{name: own[name][number] for name in (columns.AFTER, columns.MOVED)},
                    **{label: own[label][number] for label in found.scorer.metrics},
                    **{f"{name} before": clean[name][number] for name in (columns.HIT, columns.EMPTY)},
                    **{f"{name} after": own[name][number] for name in (columns.HIT, columns.EMPTY)},
                }
