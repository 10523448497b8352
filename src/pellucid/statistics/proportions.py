"""Proportions of hits, with intervals whose units are patients."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from pellucid.errors import OptionError
from pellucid.statistics.arrays import LARGEST, is_from, shown
from pellucid.statistics.distributions import Array, clopper_pearson, t_quantile
from pellucid.statistics.intervals import Interval
from pellucid.statistics.samples import Patients, Sample, checked_hits, checked_share, sample

MOST_CASES, FEWEST_RARER = 3, 10
"""The estimated design effect is used where no patient has more cases, or at least so many have the rarer outcome."""


def proportion(hits: ArrayLike, patients: Patients = None, *, confidence: float = 0.95) -> Interval:
    """The share of hits with the Clopper–Pearson interval on the effective sample size.

    ``hits`` (N,) are 0, 1 or NaN, ``patients`` (N,) whose they are. With n cases of m patients, rate p and patient i's
    hits hᵢ of nᵢ cases::

        effect    = max(1, m / (m − 1) · Σᵢ (hᵢ − p nᵢ)² / n²  ÷  p (1 − p) / (n − 1))
        effective = n / effect · (t(n − 1) / t(m − 1))²         m where all cases or none hit

    where t(k) is Student's quantile of k degrees of freedom. Where a patient has more than 3 cases, and fewer than 10
    patients have the rarer outcome, the effect cannot be estimated: effective is at most n² / Σᵢ nᵢ² then, as if all
    cases of a patient were alike. The interval is that of effective · p hits of effective
    (Korn and Graubard 1998, Survey Methodology 24: 193–201). With one case a patient it is the exact binomial interval.

    It is withheld where there are no cases, or one patient only.

    >>> print(proportion([1, 1, 0, 1, 1, 1, 0, 1, 1, 1]))
    0.800 (0.444 to 0.975)
    >>> print(proportion([1, 1, 0, 0, 1, 1, 0, 1, 1, 1], patients=list("aabbccddee")))
    0.700 (0.157 to 0.988)

    Raises:
        OptionError: a value is neither 0, 1 nor NaN; a patient is missing; ``confidence`` is not between 0 and 1.
        ShapeError: the arrays are not (N,), or differ in length.
    """
    found = sample({"hits": hits}, patients)
    checked_hits("hits", found.values[:, 0])
    checked_share("confidence", confidence)
    rate = _rate(found)
    if found.patients < 2:
        return found.without("one patient only" if found.patients else "no cases", rate)
    effective = effective_size(found, confidence)
    return found.interval(rate, *clopper_pearson(rate * effective, effective, confidence))


def _rate(found: Sample) -> float:
    return float(found.values.mean()) if found.count else math.nan


def effective_size(found: Sample, confidence: float = 0.95) -> float:
    """The number of independent cases whose exact interval has the right width; see ``proportion``."""
    rate, count, patients = _rate(found), found.count, found.patients
    if rate in (0.0, 1.0):
        return float(patients)
    quantile = (1 + confidence) / 2
    loss = t_quantile(quantile, count - 1) / t_quantile(quantile, patients - 1)
    effective = count / design_effect(found) * loss**2
    return min(effective, count**2 / float(found.sizes @ found.sizes)) if _is_unknown(found) else effective


def _is_unknown(found: Sample) -> bool:
    """Whether the effect of many cases a patient cannot be estimated, as too few patients have the rarer outcome."""
    hit = found.values[:, 0] == 1
    rarer = min(len(np.unique(found.patient[chosen])) for chosen in (hit, ~hit))
    return bool(found.sizes.max() > MOST_CASES and rarer < FEWEST_RARER)


def design_effect(found: Sample) -> float:
    """The design effect of a sample's first column; see ``design_effects``."""
    return float(design_effects(found, found.values[:, :1].T)[0])


def design_effects(found: Sample, rows: Array) -> Array:
    """How many times the variance of each row's mean (P, n) exceeds that of independent cases, (P,), at least 1.

    With vᵢⱼ the deviation from the mean of patient i's case j, of n cases of m patients in all, it is
    m / (m − 1) · Σᵢ (Σⱼ vᵢⱼ)² ÷ n / (n − 1) · Σᵢⱼ vᵢⱼ², and 1 where all values are equal.
    """
    rest = rows - rows.mean(axis=1, keepdims=True)
    single = np.square(rest).sum(axis=1) / (found.count - 1)
    grouped = np.square(found.row_totals(rest)).sum(axis=1) / (found.patients - 1)
    ratio = grouped * found.patients / (np.where(single > 0, single, 1.0) * found.count)
    return np.asarray(np.maximum(1.0, ratio))


def wilson(hits: int, count: int, confidence: float = 0.95) -> tuple[float, float]:
    """The Wilson confidence interval of the proportion hits / count (1927, doi:10.1080/01621459.1927.10502953).

    (p + z²/2n ± z √(p(1 − p)/n + z²/4n²)) / (1 + z²/n) with p = hits/n and z the normal quantile. Without any
    count the interval is (0, 1). Its coverage is 0.95 on average over the rates: at a rate of 0.98, 25 cases have 0.91.

    >>> [round(bound, 3) for bound in wilson(9, 10)]
    [0.596, 0.982]

    Raises:
        OptionError: ``hits`` are not from 0 to ``count``, or ``confidence`` is not between 0 and 1.
    """
    checked_share("confidence", confidence)
    if not is_from(0, count, LARGEST) or not is_from(0, hits, count):
        raise OptionError(f"hits must be from 0 to the count, got {shown(hits)} of {shown(count)}")
    if not count:
        return 0.0, 1.0
    z, p = NormalDist().inv_cdf((1 + confidence) / 2), hits / count
    centre = p + z * z / (2 * count)
    half = z * math.sqrt(p * (1 - p) / count + z * z / (4 * count * count))
    whole = 1 + z * z / count
    return max(0.0, (centre - half) / whole), min(1.0, (centre + half) / whole)
