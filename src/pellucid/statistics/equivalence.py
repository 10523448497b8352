"""Is one score as good as another, within a margin? Two one-sided tests, and the interval of a difference."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike

from pellucid.errors import OptionError
from pellucid.statistics.arrays import is_between, shown
from pellucid.statistics.distributions import normal_tail
from pellucid.statistics.intervals import Interval
from pellucid.statistics.means import mean_of
from pellucid.statistics.paired import sign_flips
from pellucid.statistics.samples import Patients, Sample, checked_generator, checked_share, sample
from pellucid.statistics.tango import discordant, independent_hits, tango, tango_interval

MARGIN = 0.10
"""Ten points of a proportion: a smaller difference is taken not to matter."""


@dataclass(frozen=True)
class Equivalence:
    """The two one-sided p-values of "first is as good as second within the margin".

    ``not_below`` is the p-value of "first − second is above −margin", ``not_above`` of "below margin"; 1 where no test
    is possible. ``test`` names the test.
    """

    difference: float
    not_below: float
    not_above: float
    margin: float
    test: str
    count: int
    patients: int
    excluded: int

    @property
    def p(self) -> float:
        """The p-value of equivalence: the larger of the two."""
        return max(self.not_below, self.not_above)


def equivalent(
    first: ArrayLike,
    second: ArrayLike,
    patients: Patients = None,
    *,
    generator: Generator,
    margin: float = MARGIN,
) -> Equivalence:
    """Test whether scores (N,) differ by less than a margin, by two one-sided tests (Schuirmann 1987).

    - Hits against hits, one case a patient: Tango's score test (``tango``).
    - Everything else: sign flips by patient of first − second ± margin. Where the second hits in 0.98, and patients
      have several cases, a true difference of exactly the margin is claimed in up to 10 % instead of 5.

    ``margin`` is in the units of the scores, and chosen before the scores are seen.

    >>> same = np.tile([1, 1, 0, 1], 25)
    >>> round(equivalent(same, same, generator=np.random.default_rng(0)).p, 4)
    0.0004

    Raises:
        OptionError: ``margin`` is not above 0, a value is infinite, a patient is missing, or the generator is not
            NumPy's.
        ShapeError: the arrays are not (N,), or differ in length.
    """
    checked_generator(generator)
    if not is_between(0, margin, math.inf):
        raise OptionError(f"the margin must be above 0, in the units of the scores; got {shown(margin)}")
    found = sample({"first": first, "second": second}, patients)
    difference = float(np.subtract(*found.values.T).mean()) if found.count else math.nan
    name, not_below, not_above = _tested(found, margin, generator)
    about = (found.count, found.patients, found.excluded)
    return Equivalence(difference, not_below, not_above, margin, name, *about)


def _tested(found: Sample, margin: float, generator: Generator) -> tuple[str, float, float]:
    if found.patients < 2:
        return ("one patient only" if found.patients else "no cases"), 1.0, 1.0
    if independent_hits(found) and margin < 1:
        wins, losses = discordant(found)
        scores = [tango(wins, losses, found.count, shift) for shift in (-margin, margin)]
        return "Tango's score test", normal_tail(scores[0]), normal_tail(-scores[1])
    differences = np.subtract(*found.values.T)
    shifted = [found.totals(differences + shift) for shift in (margin, -margin)]
    better, worse = sign_flips(np.stack(shifted, axis=1), generator)
    return "sign flips by patient", float(better[0]), float(worse[1])


def difference(
    first: ArrayLike,
    second: ArrayLike,
    patients: Patients = None,
    *,
    generator: Generator,
    confidence: float = 0.95,
) -> Interval:
    """The mean of first − second over the cases (N,), with an interval.

    For hits of one case a patient these are the differences that Tango's score test does not reject (1998,
    doi:10.1002/(SICI)1097-0258(19980430)17:8<891::AID-SIM780>3.0.CO;2-B); else the interval is that of ``mean``.
    Of hits with several cases a patient, where both rates are 0.9 or 0.98, it covers 0.89 to 0.93: docs/statistics.md.

    >>> first, second = [1] * 30 + [0] * 10, [1] * 20 + [0] * 20
    >>> print(difference(first, second, generator=np.random.default_rng(0)))
    0.250 (0.140 to 0.402)

    Raises:
        OptionError: a value is infinite, a patient is missing, the generator is not NumPy's, or ``confidence`` is not
            between 0 and 1.
        ShapeError: the arrays are not (N,), or differ in length.
    """
    checked_generator(generator)
    checked_share("confidence", confidence)
    found = sample({"first": first, "second": second}, patients)
    if found.patients > 1 and independent_hits(found):
        wins, losses = discordant(found)
        bounds = tango_interval(wins, losses, found.count, confidence)
        return found.interval((wins - losses) / found.count, *bounds)
    return mean_of(found.with_values(np.subtract(*found.values.T)), generator, confidence)
