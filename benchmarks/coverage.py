"""How often the intervals of ``pellucid.statistics`` cover the truth, in simulated studies."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from benchmarks.studies import Array, Design, beta_hits, half_zero, joint_hits, scores, skewed
from pellucid.statistics import Interval, all_pairs, auroc, difference, mean, proportion, wilson
from pellucid.statistics.distributions import clopper_pearson

STUDIES = 2000
RATES = (0.6, 0.9, 0.98)
PATIENTS = (25, 50, 200)
Row = dict[str, str | float]
Cases = NDArray[np.intp]


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


def proportions(seed: int) -> list[Row]:
    """Proportions: each rate and design, the rate of a patient being of a beta distribution, or copied in part."""
    found: list[Row] = []
    for rate, design in itertools.product(RATES, designs()):
        models = ("beta", "copies") if design.within else ("beta",)
        found += [_proportion(rate, design, model, np.random.default_rng([seed, len(found)])) for model in models]
    return found


def many_cases(seed: int) -> list[Row]:
    """Proportions beyond the design: more cases a patient, a stronger correlation, fewer patients."""
    grid = itertools.product(RATES, (5, 10, 25, 50, 200), (3, 10, 30), (0.5, 0.9))
    found: list[Row] = []
    for rate, patients, most, within in grid:
        rng = np.random.default_rng([seed, len(found)])
        found.append(_proportion(rate, Design(patients, most, within), "beta", rng))
    return found


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


def means(seed: int) -> list[Row]:
    """Means of metrics that are not hits."""
    found: list[Row] = []
    for (name, (score, truth)), design in itertools.product(METRICS.items(), designs()):
        rng, intervals = np.random.default_rng([seed, len(found)]), []
        for _ in range(STUDIES):
            patient = design.cases(rng)
            values = score(scores(patient, design.within, rng))
            intervals.append(mean(values, patient.tolist(), generator=rng))
        found.append({"metric": name, **about(design), **covered(intervals, truth)})
    return found


def differences(seed: int) -> list[Row]:
    """Differences of two hit rates."""
    found: list[Row] = []
    for rates in ((0.7, 0.6), (0.98, 0.9)):
        for design in (one for one in designs(between=0.4) if one.most == 1 or one.within):
            rng, intervals = np.random.default_rng([seed, len(found)]), []
            for _ in range(STUDIES):
                patient = design.cases(rng)
                hits = joint_hits(rates, patient, design, rng)
                intervals.append(difference(hits[:, 0], hits[:, 1], patient.tolist(), generator=rng))
            row = covered(intervals, rates[0] - rates[1])
            found.append({"rates": f"{rates[0]:g}, {rates[1]:g}", "between": design.between, **about(design), **row})
    return found


def areas(seed: int) -> list[Row]:
    """Areas under the ROC curve of normal scores, by which hits exceed misses."""
    found: list[Row] = []
    for rate, shift, design in itertools.product((0.6, 0.9), (0.742, 1.812), designs()):
        if design.most == 1 or design.within:
            rng, intervals = np.random.default_rng([seed, len(found)]), []
            for _ in range(STUDIES):
                patient = design.cases(rng)
                hits = beta_hits(rate, patient, design.within, rng)
                values = scores(patient, design.within, rng) + shift * hits
                intervals.append(auroc(values, hits, patient.tolist()))
            truth = 0.5 * (1 + math.erf(shift / 2))
            found.append({"rate": rate, "area": round(truth, 3), **about(design), **covered(intervals, truth)})
    return found


def simultaneous(seed: int) -> list[Row]:
    """All pairs of 15 methods: how often every interval of a study covers."""
    found: list[Row] = []
    equal, spread = [0.6] * 15, [round(0.46 + 0.02 * index, 2) for index in range(15)]
    grid = [(equal, one) for one in designs(between=0.4) if one.most == 1 or one.within]
    grid.append((spread, Design(50, between=0.4)))
    for rates, design in grid:
        row = _all_pairs(rates, design, np.random.default_rng([seed, len(found)]))
        found.append({"rates": f"{min(rates):g}–{max(rates):g}", "between": design.between, **about(design), **row})
    return found


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
    return {"coverage": 1 - missed / STUDIES, "width": width / max(1, whole - withheld), "withheld": withheld / whole}
