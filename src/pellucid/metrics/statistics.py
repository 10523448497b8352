"""Confidence intervals for measured rates."""

from __future__ import annotations

import math
from statistics import NormalDist


def wilson(hits: int, count: int, confidence: float = 0.95) -> tuple[float, float]:
    """The Wilson confidence interval of the proportion hits / count (1927, doi:10.1080/01621459.1927.10502953).

    (p + z²/2n ± z √(p(1 − p)/n + z²/4n²)) / (1 + z²/n) with p = hits/n and z the normal quantile. Without any
    count the interval is (0, 1).

    >>> [round(bound, 3) for bound in wilson(9, 10)]
    [0.596, 0.982]
    """
    if not count:
        return 0.0, 1.0
    z, p = NormalDist().inv_cdf((1 + confidence) / 2), hits / count
    centre = p + z * z / (2 * count)
    half = z * math.sqrt(p * (1 - p) / count + z * z / (4 * count * count))
    whole = 1 + z * z / count
    return max(0.0, (centre - half) / whole), min(1.0, (centre + half) / whole)
