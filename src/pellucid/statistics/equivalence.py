"""Is one score as good as another, within a margin? Two one-sided tests, and the interval of a difference."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike

from pellucid.errors import OptionError
from pellucid.statistics.arrays import is_between, shown
from pellucid.statistics.intervals import Interval
from pellucid.statistics.means import mean_of
from pellucid.statistics.paired import sign_flips
from pellucid.statistics.samples import Patients, Sample, checked_generator, checked_share, is_binary, sample
from pellucid.statistics.tango import Discordance

MARGIN = 0.10
"""Ten points of a proportion: a smaller difference is taken not to matter."""
_NAMES = ("Tango's score test", "Tango's score test by patient")


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

    - Hits against hits: Tango's score test (``tango``). With several cases a patient, of as many independent cases as
      the design effect of the differences leaves, and with Student's distribution, as the interval of ``proportion``.
    - Everything else: sign flips by patient of first − second ± margin.

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
    if is_binary(found.values) and margin < 1:
        apart = Discordance.of(found, np.subtract(*found.values.T)[None])
        return _NAMES[found.clustered], float(apart.tail(-margin, 1)[0]), float(apart.tail(margin, -1)[0])
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

    For hits these are the differences that Tango's score test does not reject (1998,
    doi:10.1002/(SICI)1097-0258(19980430)17:8<891::AID-SIM780>3.0.CO;2-B), by patient as for ``equivalent``; else the
    interval is that of ``mean``. It is withheld where there is one patient only.

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
    apart = np.subtract(*found.values.T)
    if found.patients > 1 and is_binary(found.values):
        low, high = Discordance.of(found, apart[None]).interval(confidence)
        return found.interval(float(apart.mean()), float(low[0]), float(high[0]))
    return mean_of(found.with_values(apart), generator, confidence)
