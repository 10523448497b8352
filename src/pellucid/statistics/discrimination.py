"""How well a number tells hits from misses: the area under the ROC curve."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pellucid.statistics.distributions import Array, t_quantile
from pellucid.statistics.intervals import Interval
from pellucid.statistics.samples import Patients, Sample, checked_hits, checked_share, sample

FEWEST = 10
"""The patients with a hit, and those with a miss, that an interval needs."""

NOTHING = 1e-12
"""A standard error that is 0 but for rounding."""


def auroc(scores: ArrayLike, hits: ArrayLike, patients: Patients = None, *, confidence: float = 0.95) -> Interval:
    """The probability that a hit has a larger score than a miss, ties counting half, with an interval by patient.

    ``scores`` and ``hits`` are (N,); hits are 0, 1 or NaN. With A the area, u(x) the share of misses below a hit x (or
    of hits above a miss x), and patient i's sums over its hits and over its misses of u − A, hᵢ and kᵢ (Obuchowski
    1997, doi:10.2307/2533958; with one case a patient DeLong 1988, doi:10.2307/2531595)::

        s² = a/(a−1) Σ hᵢ² / n₁² + b/(b−1) Σ kᵢ² / n₀² + 2 m/(m−1) Σ hᵢ kᵢ / (n₁ n₀)

    for n₁ hits of a patients, n₀ misses of b patients, m patients in all. The interval is logit A ± t s / (A (1 − A))
    with Student's quantile t of min(a, b) − 1 degrees of freedom: of 20 misses, the normal quantile covered 0.92.

    It is withheld with fewer than 10 patients who have a hit, or a miss: its coverage was not shown there. So it is
    where the scores separate all hits from all misses, or are equal, since s is 0 then.

    >>> rng = np.random.default_rng(0)
    >>> hits = rng.random(80) < 0.6
    >>> print(auroc(rng.normal(size=80) + hits, hits))
    0.832 (0.722 to 0.905)
    >>> auroc([0.1, 0.4, 0.3], [0, 1, 1]).withheld
    'fewer than 10 misses (1)'

    Raises:
        OptionError: a hit is neither 0, 1 nor NaN, a score is infinite, or a patient is missing.
        ShapeError: the arrays are not (N,), or differ in length.
    """
    checked_share("confidence", confidence)
    found = sample({"scores": scores, "hits": hits}, patients)
    hit = checked_hits("hits", found.values[:, 1]) == 1
    reason = _few("misses", found, ~hit) or _few("hits", found, hit)
    if hit.all() or not hit.any():
        return found.without(reason or "no cases")
    area, above, below = _placements(found.values[hit, 0], found.values[~hit, 0])
    if reason or area in (0.0, 1.0):
        return found.without(reason or "the scores separate all hits from all misses", area)
    error = _error(found, hit, above - area, below - area)
    if error < NOTHING:
        return found.without("the scores are equal, or those of each patient balance", area)
    quantile = t_quantile((1 + confidence) / 2, min(_patients(found, hit), _patients(found, ~hit)) - 1)
    half = quantile * error / (area * (1 - area))
    centre = math.log(area / (1 - area))
    return found.interval(area, _expit(centre - half), _expit(centre + half))


def _patients(found: Sample, chosen: NDArray[np.bool_]) -> int:
    return len(np.unique(found.patient[chosen]))


def _few(what: str, found: Sample, chosen: NDArray[np.bool_]) -> str | None:
    cases, patients = int(chosen.sum()), _patients(found, chosen)
    if patients >= FEWEST:
        return None
    return f"fewer than {FEWEST} {what} ({cases})" if cases < FEWEST else f"fewer than {FEWEST} patients with {what}"


def _placements(hits: Array, misses: Array) -> tuple[float, Array, Array]:
    """The area; for each hit the share of misses below it, and for each miss the share of hits above it."""
    low, high = np.sort(misses), np.sort(hits)
    above = (np.searchsorted(low, hits, "left") + np.searchsorted(low, hits, "right")) / (2 * len(misses))
    below = 1 - (np.searchsorted(high, misses, "left") + np.searchsorted(high, misses, "right")) / (2 * len(hits))
    return float(above.mean()), above, below


def _error(found: Sample, hit: NDArray[np.bool_], above: Array, below: Array) -> float:
    """The standard error s; see ``auroc``."""
    parts = []
    for chosen, rest in ((hit, above), (~hit, below)):
        whole = np.zeros(found.count)
        whole[chosen] = rest / chosen.sum()
        parts.append(found.totals(whole))
    patients = (_patients(found, hit), _patients(found, ~hit), found.patients)
    sums = (parts[0] @ parts[0], parts[1] @ parts[1], 2 * (parts[0] @ parts[1]))
    variance = sum(value * count / (count - 1) for value, count in zip(sums, patients, strict=True))
    return math.sqrt(max(0.0, variance))


def _expit(value: float) -> float:
    return 1 / (1 + math.exp(-value))
