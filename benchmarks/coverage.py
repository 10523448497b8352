"""How often the intervals of ``pellucid.statistics`` cover the truth, in simulated studies."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from functools import partial

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from benchmarks.studies import Array, Design, beta_hits, half_zero, joint_hits, scores, skewed
from pellucid.statistics import Interval, all_pairs, auroc, difference, mean, proportion, wilson
from pellucid.statistics.distributions import clopper_pearson

STUDIES = 2000
RATES = (0.6, 0.9, 0.98)
PATIENTS = (25, 50, 200)
METHODS = 15
BETWEEN = (0.0, 0.4, 0.7)
Row = dict[str, str | float]
Cell = Callable[[], Row]
"""Simulates the studies of one cell of a table."""
Cases = NDArray[np.intp]


def cells(simulate: Callable[..., Row], grid: Iterable[tuple[object, ...]], seed: int) -> list[Cell]:
    """A cell for each point of a grid, each with a generator of its own, so that any can be simulated alone."""
    return [partial(simulate, *point, np.random.default_rng([seed, index])) for index, point in enumerate(grid)]


def designs(most: int = 3, between: float = 0.0) -> Iterator[Design]:
    """The numbers of patients, each with 1 case, and with 1 to ``most`` of correlation 0 and 0.5."""
    for patients in PATIENTS:
        yield Design(patients, between=between)
        for within in (0.0, 0.5):
            yield Design(patients, most, within, between)


def covered(intervals: list[Interval], truth: float) -> Row:
    """The share of the intervals that cover, of those that were not withheld; how many miss on each side."""
    shown = [one for one in intervals if one.withheld is None]
    count = max(1, len(shown))
    below = sum(one.high < truth - 1e-9 for one in shown)
    above = sum(one.low > truth + 1e-9 for one in shown)
    width = sum(one.width for one in shown) / count if shown else math.nan
    withheld = 1 - len(shown) / len(intervals)
    return {
        "coverage": 1 - (below + above) / count,
        "below": below,
        "above": above,
        "width": width,
        "withheld": withheld,
    }


def about(design: Design) -> Row:
    """The columns that describe a design."""
    return {"patients": design.patients, "cases": str(design)}


def proportions(seed: int) -> list[Cell]:
    """Proportions: each rate and design, the rate of a patient being of a beta distribution, or copied in part."""
    found: list[Cell] = []
    for rate, design in itertools.product(RATES, designs()):
        models, own = ("beta", "copies") if design.within else ("beta",), [seed, len(found)]
        found += [partial(_proportion, rate, design, model, np.random.default_rng(own)) for model in models]
    return found


def many_cases(seed: int) -> list[Cell]:
    """Proportions beyond the design: more cases a patient, a stronger correlation, fewer patients."""
    grid = itertools.product(RATES, (5, 10, 25, 50, 200), (3, 10, 30), (0.5, 0.9))
    points = ((rate, Design(patients, most, within), "beta") for rate, patients, most, within in grid)
    return cells(_proportion, points, seed)


def _proportion(rate: float, design: Design, model: str, rng: Generator) -> Row:
    intervals, exact, approximate = [], 0.0, 0.0
    for _ in range(STUDIES):
        patient = design.cases(rng)
        hits = _hits(rate, patient, design, model, rng)
        intervals.append(proportion(hits, patient.tolist()))
        total, count = int(hits.sum()), len(hits)
        exact += float(np.diff(clopper_pearson(total, count))[0]) / STUDIES
        approximate += float(np.diff(wilson(total, count))[0]) / STUDIES
    widths: Row = {"binomial": exact, "wilson": approximate}
    return {"rate": rate, "hits": model, **about(design), **covered(intervals, rate), **widths}


def _hits(rate: float, patient: Cases, design: Design, model: str, rng: Generator) -> Array:
    if model == "copies":
        return joint_hits([rate], patient, design, rng)[:, 0]
    return beta_hits(rate, patient, design.within, rng)


METRICS: dict[str, tuple[Callable[[Array], Array], float]] = {
    "skewed to 0, mean 0.2": (lambda normal: skewed(normal, 4), 0.2),
    "skewed to 1, mean 0.8": (lambda normal: skewed(normal, 0.25), 0.8),
    "half of them 0": (half_zero, 0.25),
    "lognormal, without a bound": (np.exp, math.exp(0.5)),
}
"""Simulated scores of a case, from a standard normal number, and their mean."""


def means(seed: int) -> list[Cell]:
    """Means of metrics that are not hits."""
    return cells(_mean, itertools.product(METRICS, designs()), seed)


def _mean(metric: str, design: Design, rng: Generator) -> Row:
    (score, truth), intervals = METRICS[metric], []
    for _ in range(STUDIES):
        patient = design.cases(rng)
        values = score(scores(patient, design.within, rng))
        intervals.append(mean(values, patient.tolist(), generator=rng))
    return {"metric": metric, **about(design), **covered(intervals, truth)}


def differences(seed: int) -> list[Cell]:
    """Differences of two hit rates."""
    first = [one for one in designs(between=0.4) if one.most == 1 or one.within]
    every = [one for between in BETWEEN for one in designs(between=between)]
    apart, equal = ((0.7, 0.6), (0.98, 0.9)), tuple((rate, rate) for rate in RATES)
    grid = [*itertools.product(apart, first), *itertools.product(apart + equal, every)]
    return cells(_difference, dict.fromkeys(grid), seed)  # those that were simulated first keep their seeds


def _difference(rates: tuple[float, float], design: Design, rng: Generator) -> Row:
    intervals = []
    for _ in range(STUDIES):
        patient = design.cases(rng)
        hits = joint_hits(rates, patient, design, rng)
        intervals.append(difference(hits[:, 0], hits[:, 1], patient.tolist(), generator=rng))
    row = covered(intervals, rates[0] - rates[1])
    return {"rates": f"{rates[0]:g}, {rates[1]:g}", "between": design.between, **about(design), **row}


def areas(seed: int) -> list[Cell]:
    """Areas under the ROC curve of normal scores, by which hits exceed misses."""
    grid = (one for one in designs() if one.most == 1 or one.within)
    return cells(_area, itertools.product((0.6, 0.9), (0.742, 1.812), grid), seed)


def _area(rate: float, shift: float, design: Design, rng: Generator) -> Row:
    intervals = []
    for _ in range(STUDIES):
        patient = design.cases(rng)
        hits = beta_hits(rate, patient, design.within, rng)
        values = scores(patient, design.within, rng) + shift * hits
        intervals.append(auroc(values, hits, patient.tolist()))
    truth = 0.5 * (1 + math.erf(shift / 2))
    return {"rate": rate, "area": round(truth, 3), **about(design), **covered(intervals, truth)}


def simultaneous(seed: int) -> list[Cell]:
    """All pairs of 15 methods that hit equally often, or in 46 to 74 %: how often every interval of a study covers."""
    rates = [[rate] * METHODS for rate in RATES]
    rates.append([round(0.46 + 0.02 * index, 2) for index in range(METHODS)])
    every = [one for between in BETWEEN for one in designs(between=between)]
    return cells(_all_pairs, itertools.product(rates, every), seed)


def _all_pairs(rates: list[float], design: Design, rng: Generator) -> Row:
    names = [str(index) for index in range(len(rates))]
    truth = {pair: rates[int(pair[0])] - rates[int(pair[1])] for pair in itertools.combinations(names, 2)}
    missed, withheld, width = 0, 0, 0.0
    for _ in range(STUDIES):
        patient = design.cases(rng)
        hits = joint_hits(rates, patient, design, rng)
        pairs = all_pairs(dict(zip(names, hits.T, strict=True)), patient.tolist())
        shown = [one for one in pairs if one.difference.withheld is None]
        withheld += len(pairs) - len(shown)
        width += sum(one.difference.width for one in shown)
        missed += any(not one.difference.contains(truth[one.first, one.second]) for one in shown)
    whole = STUDIES * len(truth)
    found: Row = {"rates": _named(rates), "between": design.between, **about(design)}
    found |= {"coverage": 1 - missed / STUDIES, "withheld": withheld / whole}
    return found | {"width": width / (whole - withheld) if withheld < whole else math.nan}


def _named(rates: list[float]) -> str:
    low, high = min(rates), max(rates)
    return f"{low:g}" if low == high else f"{low:g}–{high:g}"
