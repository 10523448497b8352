"""The result of every function here that estimates: an estimate with its interval, or why there is no interval."""

from __future__ import annotations

from dataclasses import dataclass

from pellucid.errors import counted


@dataclass(frozen=True)
class Interval:
    """An estimate, and a confidence interval if its coverage was shown for such data.

    ``withheld`` is None, or says why there is no interval; ``low`` and ``high`` are NaN then, and the count is to be
    shown instead. ``count`` is the number of cases, ``patients`` whose they are, and ``excluded`` how many other cases
    had no value (NaN).

    >>> print(Interval(0.9, 0.555, 0.997, count=10, patients=10))
    0.900 (0.555 to 0.997)
    >>> print(Interval(0.8, float("nan"), float("nan"), count=12, patients=12, withheld="fewer than 10 misses"))
    12 cases of 12 patients; interval withheld: fewer than 10 misses
    """

    estimate: float
    low: float
    high: float
    count: int
    patients: int
    excluded: int = 0
    withheld: str | None = None

    @property
    def width(self) -> float:
        """The length of the interval; NaN if it is withheld."""
        return self.high - self.low

    def contains(self, value: float) -> bool:
        """Whether the interval contains a value; a withheld one contains none."""
        return self.low <= value <= self.high

    def __str__(self) -> str:
        if self.withheld is not None:
            cases = f"{counted(self.count, 'case')} of {counted(self.patients, 'patient')}"
            return f"{cases}; interval withheld: {self.withheld}"
        return f"{self.estimate:.3f} ({self.low:.3f} to {self.high:.3f})"
