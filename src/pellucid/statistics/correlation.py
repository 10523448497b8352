"""The rank correlation of two columns, with an interval whose units are patients."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata

from pellucid.statistics.distributions import Array, t_quantile
from pellucid.statistics.intervals import Interval
from pellucid.statistics.means import FEWEST_PATIENTS
from pellucid.statistics.samples import Patients, Sample, checked_share, sample


def rank_correlation(a: ArrayLike, b: ArrayLike, patients: Patients = None, *, confidence: float = 0.95) -> Interval:
    """Spearman's rank correlation ρ of two columns (N,), with the jackknife interval by patient.

    With z = artanh ρ of all m patients and zᵢ that without patient i::

        z̃ᵢ       = m z − (m − 1) zᵢ
        interval = tanh( mean z̃ ± t(m − 1) · √(Σᵢ (z̃ᵢ − mean z̃)² / (m (m − 1))) )

    where t(k) is Student's quantile of k degrees of freedom (Efron and Stein 1981, doi:10.1214/aos/1176345462). Equal
    values have the mean of their ranks. The interval is withheld with fewer than 20 patients, and where a column is
    constant or the order of both is the same.

    >>> a = np.arange(30.0)
    >>> print(rank_correlation(a, np.where(a % 3, a, -a)))
    0.399 (-0.180 to 0.748)

    Raises:
        OptionError: a value is infinite, a patient is missing, or ``confidence`` is not between 0 and 1.
        ShapeError: the arrays are not (N,), or differ in length.
    """
    checked_share("confidence", confidence)
    found = sample({"a": a, "b": b}, patients)
    estimate = _spearman(found.values)
    reason = _withheld(found, estimate)
    if reason is not None:
        return found.without(reason, estimate)
    without = [_spearman(found.values[found.patient != one]) for one in range(found.patients)]
    if any(map(math.isnan, without)):
        return found.without("all values but those of one patient are equal", estimate)
    low, high = _jackknife(_fisher(estimate), np.array([_fisher(one) for one in without]), (1 + confidence) / 2)
    return found.interval(estimate, math.tanh(low), math.tanh(high))


def _withheld(found: Sample, estimate: float) -> str | None:
    if not found.count:
        return "no cases"
    if found.patients < FEWEST_PATIENTS:
        return f"fewer than {FEWEST_PATIENTS} patients"
    if math.isnan(estimate):
        return "all values are equal"
    return "the order is the same" if abs(estimate) > 1 - 1e-9 else None


def _spearman(values: Array) -> float:
    """The rank correlation of columns (n, 2); NaN where one is constant."""
    if len(values) < 2 or bool((values == values[0]).all(0).any()):
        return math.nan
    return float(np.corrcoef(rankdata(values, axis=0), rowvar=False)[0, 1])


def _fisher(correlation: float) -> float:
    return math.atanh(max(-1 + 1e-12, min(1 - 1e-12, correlation)))


def _jackknife(whole: float, without: Array, quantile: float) -> tuple[float, float]:
    count = len(without)
    pseudo = count * whole - (count - 1) * without
    half = t_quantile(quantile, count - 1) * float(pseudo.std(ddof=1)) / math.sqrt(count)
    return float(pseudo.mean()) - half, float(pseudo.mean()) + half
