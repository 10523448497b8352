"""How often ``pellucid.statistics`` claims what is not true, and how often it finds what is, in simulated studies."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.random import Generator
from scipy.stats import binom

from benchmarks.coverage import BETWEEN, METHODS, STUDIES, Cases, Cell, Row, about, cells
from benchmarks.studies import Array, Design, joint_hits
from pellucid.statistics import cases_needed, holm
from pellucid.statistics.distributions import midp_binomial, normal_tail
from pellucid.statistics.equivalence import MARGIN
from pellucid.statistics.paired import expected_hits, mcnemar, sign_flips
from pellucid.statistics.samples import complete
from pellucid.statistics.tango import Discordance, tango

LEVEL = 0.05
RATES = (0.6, 0.9, 0.98)
PATIENTS = (25, 50, 100, 200)


def compared(hits: Array, prior: Array, patient: Cases, rng: Generator) -> tuple[Array, Array]:
    """The p-values (K,) of "better" and "worse" of hits (N, K): the tests that ``compare`` uses, with shared signs."""
    if len(np.unique(patient)) == len(patient):
        better = np.array([mcnemar(one, prior) for one in hits.T])
        return better, 1 - better
    return sign_flips(_totals(hits - prior[:, None], patient), rng)


def equivalence(hits: Array, prior: Array, patient: Cases) -> Array:
    """The p-values (K,) of "as good as": the tests that ``equivalent`` uses."""
    apart = Discordance.of(complete(hits, patient), (hits - prior[:, None]).T)
    return np.maximum(apart.tail(-MARGIN, 1), apart.tail(MARGIN, -1))


def _tost(wins: int, losses: int, count: int) -> float:
    scores = [float(tango(wins, losses, count, shift)) for shift in (-MARGIN, MARGIN)]
    return max(normal_tail(scores[0]), normal_tail(-scores[1]))


def _totals(differences: Array, patient: Cases) -> Array:
    return np.stack([np.bincount(patient, weights=one) for one in differences.T], axis=1)


def rejected(values: Array) -> bool:
    """Whether any method of a family is claimed, after Holm."""
    return bool(holm(values).min() <= LEVEL)


def equal_rates(seed: int) -> list[Cell]:
    """The studies that claim "better" or "worse" of any method, where all methods and the prior hit equally often."""
    grid: list[tuple[int, float, Design]] = []
    for methods, between in itertools.product((1, METHODS), BETWEEN):
        grid += [(methods, rate, Design(n, between=between)) for rate in RATES for n in PATIENTS]
        grid += [(methods, 0.6, Design(n, 3, 0.5, between)) for n in (25, 50)]
    for methods, between in itertools.product((1, METHODS), BETWEEN):
        grid += [(methods, rate, Design(n, 3, 0.5, between)) for rate in RATES for n in (25, 50, 200)]
    return cells(_equal, dict.fromkeys(grid), seed)


def _equal(methods: int, rate: float, design: Design, rng: Generator) -> Row:
    better = worse = 0
    for _ in range(STUDIES):
        patient = design.cases(rng)
        hits = joint_hits([rate] * (methods + 1), patient, design, rng)
        above, below = compared(hits[:, 1:], hits[:, 0], patient, rng)
        better, worse = better + rejected(above), worse + rejected(below)
    found: Row = {"methods": methods, "rate": rate, "between": design.between, **about(design)}
    found |= {"better": better / STUDIES, "worse": worse / STUDIES}
    if methods == 1 and design.most == 1:
        found["exact"] = exact_size(rate, design)
    return found


def exact_size(rate: float, design: Design) -> float:
    """The false alarms of one mid-p McNemar test, summed over all numbers of cases on which the two differ."""
    share, _ = discordance(rate, 0.0, design.between)
    total = 0.0
    for differing in range(design.patients + 1):
        alarms = [wins for wins in range(differing + 1) if midp_binomial(wins, differing) <= LEVEL]
        total += binom.pmf(differing, design.patients, share) * binom.pmf(alarms, differing, 0.5).sum()
    return float(total)


def at_the_margin(seed: int) -> list[Cell]:
    """The studies that claim "as good as" of any method, where the true difference is the margin, on either side."""
    grid: list[tuple[int, float, float, Design]] = []
    for methods, between, sign in itertools.product((1, METHODS), BETWEEN, (-1, 1)):
        rates = [rate for rate in RATES if rate + sign * MARGIN < 1]
        grid += [(methods, rate, sign, Design(n, between=between)) for rate in rates for n in (50, 100, 200, 400)]
    grid += [(METHODS, 0.6, sign, Design(100, 3, 0.5, 0.4)) for sign in (-1, 1)]
    for methods, between, sign, rate in itertools.product((1, METHODS), BETWEEN, (-1, 1), RATES):
        if rate + sign * MARGIN < 1:
            grid += [(methods, rate, sign, Design(n, 3, 0.5, between)) for n in (50, 200)]
    return cells(_margin, grid, seed)


def _margin(methods: int, rate: float, sign: float, design: Design, rng: Generator) -> Row:
    rates = [rate, *[rate + sign * MARGIN] * methods]
    share = _share_as_good(rates, design, rng, STUDIES)
    found: Row = {"methods": methods, "rate": rate, "difference": sign * MARGIN, "between": design.between}
    found |= {**about(design), "as good": share}
    if methods == 1 and design.most == 1:
        found["exact"] = exact_margin(rate, sign * MARGIN, design)
    return found


def exact_margin(rate: float, difference: float, design: Design) -> float:
    """The false alarms of one pair of Tango's tests, summed over all numbers of wins and losses."""
    differing, gains = discordance(rate, difference, design.between)
    total = 0.0
    for count in range(design.patients + 1):
        chance = binom.pmf(count, design.patients, differing)
        if chance > 1e-12:
            alarms = [wins for wins in range(count + 1) if _tost(wins, count - wins, design.patients) <= LEVEL]
            total += chance * binom.pmf(alarms, count, gains / differing).sum()
    return float(total)


def discordance(rate: float, difference: float, between: float) -> tuple[float, float]:
    """The shares of cases on which two methods differ, and which only the second, of rate + difference, hits."""
    higher = rate + difference
    # A copy of both is equal, so that they differ only where it lies between the rates.
    gains = between * max(difference, 0) + (1 - between) * higher * (1 - rate)
    losses = between * max(-difference, 0) + (1 - between) * rate * (1 - higher)
    return gains + losses, gains


def _share_as_good(rates: Sequence[float], design: Design, rng: Generator, studies: int) -> float:
    claimed = 0
    for _ in range(studies):
        patient = design.cases(rng)
        hits = joint_hits(rates, patient, design, rng)
        claimed += rejected(equivalence(hits[:, 1:], hits[:, 0], patient))
    return claimed / studies


def against_random(seed: int) -> list[Cell]:
    """The random prior, whose hit is a probability (beta distribution of mean 0.1 or 0.3): the mid-p tail.

    The method hits by the same probabilities, or equally often on all cases.
    """
    return cells(_random, itertools.product((0.1, 0.3), (25, 50, 200), (True, False)), seed)


def _random(rate: float, cases: int, alike: bool, rng: Generator) -> Row:
    better = worse = 0
    for _ in range(STUDIES):
        chances = rng.beta(4 * rate, 4 * (1 - rate), size=cases)
        hits = (rng.random(cases) < (chances if alike else rate)).astype(np.float64)
        value = expected_hits(hits, chances)
        better, worse = better + (value <= LEVEL), worse + (1 - value <= LEVEL)
    row: Row = {"rate": rate, "patients": cases, "method hits": "as the prior" if alike else "equally on all cases"}
    return {**row, "better": better / STUDIES, "worse": worse / STUDIES}


def power(seed: int) -> list[Cell]:
    """How often true differences are found, and equal rates found to be as good."""
    return cells(_power, itertools.product((0.0, 0.1, 0.2, 0.3), BETWEEN, (50, 100, 200)), seed)


def _power(gain: float, between: float, cases: int, rng: Generator) -> Row:
    design, rates = Design(cases, between=between), [0.6, 0.6 + gain]
    row: Row = {"difference": gain, "between": between, "patients": cases}
    row |= {"better": _share_better(rates, design, rng), "better of 15": _share_better(rates, design, rng, METHODS)}
    return {**row, "as good": _share_as_good(rates, design, rng, STUDIES)}


def _share_better(rates: Sequence[float], design: Design, rng: Generator, family: int = 1) -> float:
    """The power of one comparison at Holm's strictest step in a family."""
    claimed = 0
    for _ in range(STUDIES):
        patient = design.cases(rng)
        hits = joint_hits(rates, patient, design, rng)
        claimed += mcnemar(hits[:, 1], hits[:, 0]) <= LEVEL / family
    return claimed / STUDIES


def planned(seed: int) -> list[Cell]:
    """The power that is reached with as many cases as ``cases_needed`` states; it was asked to be 0.8."""
    return cells(_planned, itertools.product((0.3, 0.6), (0.1, 0.2), BETWEEN, (LEVEL, LEVEL / METHODS)), seed)


def _planned(rate: float, gain: float, between: float, level: float, rng: Generator) -> Row:
    differing = discordance(rate, gain, between)[0]
    cases = cases_needed(differing, difference=gain, level=level)
    reached = _share_better([rate, rate + gain], Design(cases, between=between), rng, round(LEVEL / level))
    row: Row = {"rate": rate, "difference": gain, "discordance": round(differing, 3), "level": round(level, 4)}
    return {**row, "cases": cases, "power": reached}
