"""How many cases a comparison needs: of the cases that were seen, only how much the two scores disagree is used."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from pellucid.errors import OptionError
from pellucid.statistics.arrays import is_between, is_from, shown
from pellucid.statistics.distributions import normal_quantile
from pellucid.statistics.proportions import design_effect
from pellucid.statistics.samples import Patients, checked_share, is_binary, sample

DIFFERENCE = 0.10
"""Ten points of a proportion."""
POWER = 0.8
LEVEL = 0.05
"""One-sided."""


def cases_needed(
    discordance: float, *, difference: float = DIFFERENCE, power: float = POWER, level: float = LEVEL
) -> int:
    """The cases in which a true difference of two paired proportions is detected with this probability.

    With ψ the discordance, the share of cases on which the two differ, and D the difference (Connor 1987,
    doi:10.2307/2531961)::

        n = ( z(1 − level) √ψ + z(power) √(ψ − D²) )² / D²

    D is the difference that is to be detected and never the observed one, which would repeat the p-value. As two
    proportions differ at most as often as their cases do, ψ is taken to be at least D. ``level`` is one-sided.

    >>> cases_needed(0.3), cases_needed(0.3, difference=0.2)
    (184, 45)

    Raises:
        OptionError: ``discordance`` is not from 0 to 1, or another number is not between 0 and 1.
    """
    checked_share("difference", difference)
    if not is_from(0, discordance, 1):
        raise OptionError(f"the discordance is a share of the cases, from 0 to 1; got {shown(discordance)}")
    return math.ceil(_needed(max(discordance, difference), difference, power, level))


def cases_needed_by(
    first: ArrayLike,
    second: ArrayLike,
    patients: Patients = None,
    *,
    difference: float = DIFFERENCE,
    power: float = POWER,
    level: float = LEVEL,
) -> int | None:
    """The cases that a comparison of such scores (N,) needs; None with fewer than two patients.

    Hits against hits: ``cases_needed`` at the observed discordance. Other scores: the same formula, with the variance
    of first − second plus D² for ψ. Both are multiplied by how much several cases a patient add to the variance
    (``design_effect``). ``difference`` is in the units of the scores.

    >>> cases_needed_by([1, 1, 0, 1], [1, 0, 1, 1])
    308

    Raises:
        OptionError: ``difference`` is not above 0, a probability is not between 0 and 1, a value is infinite, or a
            patient is missing.
        ShapeError: the arrays are not (N,), or differ in length.
    """
    if not is_between(0, difference, math.inf):
        raise OptionError(f"the difference to detect must be above 0, got {shown(difference)}")
    found = sample({"first": first, "second": second}, patients)
    if found.patients < 2:
        return None
    differences = found.with_values(np.subtract(*found.values.T))
    square = float(differences.values.var(ddof=1)) + difference**2
    if is_binary(found.values):
        square = max(float(np.abs(differences.values).mean()), difference)
    return math.ceil(_needed(square, difference, power, level) * design_effect(differences))


def _needed(square: float, difference: float, power: float, level: float) -> float:
    spread = normal_quantile(1 - checked_share("level", level)) * math.sqrt(square)
    spread += normal_quantile(checked_share("power", power)) * math.sqrt(max(0.0, square - difference**2))
    return (spread / difference) ** 2
