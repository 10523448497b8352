"""Tango's score for the difference of two paired proportions (1998), with patients as units.

doi:10.1002/(SICI)1097-0258(19980430)17:8<891::AID-SIM780>3.0.CO;2-B
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from pellucid.statistics.distributions import Array, normal_quantile, normal_tail, t_quantile, t_tail
from pellucid.statistics.proportions import FEWEST_RARER, MOST_CASES, design_effects
from pellucid.statistics.samples import Sample

HALVINGS = 60


def tango(wins: ArrayLike, losses: ArrayLike, count: ArrayLike, shift: ArrayLike) -> Array:
    """Tango's score for the hypothesis that the difference of two paired proportions is ``shift``; normal if it is.

    With b wins, c losses, n cases and Δ the shift, (b − c − nΔ) / √(n (2q + Δ(1 − Δ))), where q is the maximum
    likelihood estimate of the share of losses: the positive root of 2n q² + (2nΔ − bΔ + cΔ − b − c) q − cΔ(1 − Δ).

    >>> round(float(tango(10, 0, 40, 0.0)), 3)  # without a shift McNemar's (b − c) / √(b + c)
    3.162
    """
    b, c, n, delta = (np.asarray(one, dtype=np.float64) for one in (wins, losses, count, shift))
    linear = (2 * n - b + c) * delta - b - c
    root = np.sqrt(np.maximum(0.0, linear**2 + 8 * n * c * delta * (1 - delta)))
    variance = n * ((root - linear) / (2 * n) + delta * (1 - delta))
    distance = b - c - n * delta
    with np.errstate(divide="ignore", invalid="ignore"):
        score = distance / np.sqrt(np.maximum(variance, 0.0))  # ±∞ where a shift is not possible
    return np.asarray(np.where(distance == 0, 0.0, score))


@dataclass(frozen=True, eq=False)
class Discordance:
    """On how many cases two methods differ, (P,) for P pairs of methods: only the first hits, only the second, of all.

    They count independent cases: with several cases a patient, each is divided by the design effect of the differences,
    and the score is compared with Student's distribution of ``freedom`` degrees; None: the normal one.
    """

    wins: Array
    losses: Array
    count: Array
    freedom: int | None = None

    @classmethod
    def of(cls, found: Sample, apart: Array) -> Discordance:
        """The cases of a sample, with the differences first − second (P, n) of hits; of two patients at least."""
        effect = _effects(found, apart) if found.clustered else np.ones(len(apart))
        wins, losses = ((apart > 0).sum(axis=1) / effect, (apart < 0).sum(axis=1) / effect)
        return cls(wins, losses, found.count / effect, found.patients - 1 if found.clustered else None)

    def tail(self, shift: float, side: int) -> Array:
        """The one-sided p-values (P,) of "the difference is above the shift" (``side`` 1), or "below" (−1)."""
        scores = side * tango(self.wins, self.losses, self.count, shift)
        return np.array([normal_tail(one) if self.freedom is None else t_tail(one, self.freedom) for one in scores])

    def interval(self, confidence: float) -> tuple[Array, Array]:
        """The least and the largest shifts (P,) that the score does not reject at this confidence, by halving."""
        level = (1 + confidence) / 2
        quantile = normal_quantile(level) if self.freedom is None else t_quantile(level, self.freedom)
        wins, losses = (np.concatenate(pair) for pair in ((self.wins, self.losses), (self.losses, self.wins)))
        low, high = np.split(_lowest(wins, losses, np.tile(self.count, 2), quantile), 2)
        return low, -high


def _effects(found: Sample, apart: Array) -> Array:
    """How many cases count as one, (P,), at least 1: the design effect of differences (P, n), as for ``proportion``.

    Where all differences are equal, the cases of a patient count as one; where a patient has more than 3 cases, and
    fewer than 10 patients a difference, as if they were all alike.
    """
    varies = apart.min(axis=1) < apart.max(axis=1)
    effect = np.where(varies, design_effects(found, apart), found.count / found.patients)
    if found.sizes.max() <= MOST_CASES:
        return effect
    few = (found.row_totals(np.abs(apart)) > 0).sum(axis=1) < FEWEST_RARER
    return np.where(few & varies, np.maximum(effect, float(found.sizes @ found.sizes) / found.count), effect)


def _lowest(wins: Array, losses: Array, count: Array, quantile: float) -> Array:
    low, high = np.full(len(wins), -1.0), (wins - losses) / count
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        rejected = tango(wins, losses, count, middle) > quantile
        low, high = np.where(rejected, middle, low), np.where(rejected, high, middle)
    return (low + high) / 2
