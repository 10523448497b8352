"""Quantiles and tails of the distributions that the tests and intervals use, typed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import special

Array = NDArray[np.float64]


def normal_quantile(probability: float) -> float:
    """The quantile of the standard normal distribution."""
    return float(special.ndtri(probability))


def t_quantile(probability: float, freedom: float) -> float:
    """The quantile of Student's t distribution; ``freedom`` is its degrees of freedom, above 0."""
    return float(special.stdtrit(freedom, probability))


def normal_tail(score: float) -> float:
    """The probability that a standard normal variable is above ``score``."""
    return float(special.ndtr(-score))


def t_tail(score: float, freedom: float) -> float:
    """The probability that a variable of Student's t distribution is above ``score``."""
    return float(special.stdtr(freedom, -score))


def clopper_pearson(hits: float, count: float, confidence: float = 0.95) -> tuple[float, float]:
    """The exact binomial interval of hits / count (Clopper and Pearson 1934, doi:10.1093/biomet/26.4.404).

    The quantiles (1 ∓ confidence) / 2 of Beta(hits, count − hits + 1) and Beta(hits + 1, count − hits). Neither number
    needs to be whole; without any count the interval is (0, 1).

    >>> [round(bound, 3) for bound in clopper_pearson(9, 10)]
    [0.555, 0.997]
    """
    tail = (1 - confidence) / 2
    low = special.betaincinv(hits, count - hits + 1, tail) if hits > 0 else 0.0
    high = special.betaincinv(hits + 1, count - hits, 1 - tail) if hits < count else 1.0
    return float(low), float(high)


def midp_binomial(hits: int, count: int) -> float:
    """P(X > hits) + P(X = hits) / 2 for X ~ Binomial(count, ½): the one-sided mid-p value of a sign test.

    >>> midp_binomial(4, 4), midp_binomial(0, 0)
    (0.03125, 0.5)
    """
    at_least = special.bdtrc(hits - 1, count, 0.5) if hits > 0 else 1.0
    above = special.bdtrc(hits, count, 0.5) if hits < count else 0.0
    return float(at_least + above) / 2


def poisson_binomial(probabilities: Array) -> Array:
    """The distribution of the number of hits, (N + 1,), where case i hits with probability ``probabilities[i]`` (N,).

    >>> poisson_binomial(np.array([0.5, 0.5]))
    array([0.25, 0.5 , 0.25])
    """
    mass = np.zeros(len(probabilities) + 1)
    mass[0] = 1.0
    for index, probability in enumerate(probabilities):
        reached = mass[: index + 2]
        reached[1:] = reached[1:] * (1 - probability) + reached[:-1] * probability  # the right side is computed first
        reached[0] *= 1 - probability
    return mass
