"""Tango's score for the difference of two paired proportions (1998).

doi:10.1002/(SICI)1097-0258(19980430)17:8<891::AID-SIM780>3.0.CO;2-B
"""

from __future__ import annotations

import math
from functools import lru_cache

from pellucid.statistics.distributions import normal_quantile
from pellucid.statistics.samples import Sample, is_binary

HALVINGS = 60


def independent_hits(found: Sample) -> bool:
    """Whether every value is a hit or a miss, and each case is a patient of its own."""
    return not found.clustered and is_binary(found.values)


def discordant(found: Sample) -> tuple[int, int]:
    """The cases that only the first hits, and only the second."""
    one, other = found.values.T
    return int((one > other).sum()), int((one < other).sum())


def tango(wins: int, losses: int, count: int, shift: float) -> float:
    """Tango's score for the hypothesis that the difference of two paired proportions is ``shift``; normal if it is.

    With b wins, c losses, n cases and Δ the shift, (b − c − nΔ) / √(n (2q + Δ(1 − Δ))), where q is the maximum
    likelihood estimate of the share of losses: the positive root of 2n q² + (2nΔ − bΔ + cΔ − b − c) q − cΔ(1 − Δ).

    >>> round(tango(10, 0, 40, 0.0), 3)  # without a shift McNemar's (b − c) / √(b + c)
    3.162
    """
    linear = (2 * count - wins + losses) * shift - wins - losses
    constant = -losses * shift * (1 - shift)
    root = math.sqrt(max(0.0, linear**2 - 8 * count * constant))
    variance = count * ((root - linear) / (2 * count) + shift * (1 - shift))
    distance = wins - losses - count * shift
    return distance / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, distance) if distance else 0.0


@lru_cache(maxsize=4096)
def tango_interval(wins: int, losses: int, count: int, confidence: float = 0.95) -> tuple[float, float]:
    """The shifts that Tango's score does not reject at this confidence, by halving; see ``difference``."""
    quantile = normal_quantile((1 + confidence) / 2)
    return _lowest(wins, losses, count, quantile), -_lowest(losses, wins, count, quantile)


def _lowest(wins: int, losses: int, count: int, quantile: float) -> float:
    low, high = -1.0, (wins - losses) / count
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if tango(wins, losses, count, middle) > quantile else (low, middle)
    return (low + high) / 2
