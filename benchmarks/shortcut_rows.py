"""The figures of a method and a marker in ``benchmarks.shortcuts``, and how they are stored as JSON."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

LEVEL = 0.01
GROUPS = ("detected", "false_honest", "false_other")


@dataclass(frozen=True)
class Alarms:
    """The share of alarms of a group of networks, with its interval, and that of each network."""

    estimate: float
    low: float
    high: float
    each: tuple[float, ...]

    def __str__(self) -> str:
        return f"{self.estimate:.2f} ({self.low:.2f} to {self.high:.2f})"


@dataclass(frozen=True)
class Raised:
    """The threshold, and the alarms of networks that cheat by the marker, of honest ones, and of those by another."""

    threshold: float
    detected: Alarms
    false_honest: Alarms
    false_other: Alarms

    @property
    def reveals(self) -> bool:
        """Whether networks that cheat by the marker raise more alarms than both kinds of others."""
        others = (self.false_honest, self.false_other)
        return all(permuted(self.detected.each, one.each) <= LEVEL for one in others)


@dataclass(frozen=True)
class Published:
    """The measures of other authors: means over the networks that cheat; None where there is none."""

    k_ssd: float | None
    ccm: float | None
    fam: float | None
    sensitivity: float | None


@dataclass(frozen=True)
class Row:
    """A method and a marker; ``raised`` is None where no threshold could be set."""

    published: Published
    raised: Raised | None = None

    def stored(self) -> dict[str, Any]:
        """As plain values, in one layer."""
        return (_plain(self.raised) if self.raised is not None else {}) | asdict(self.published)

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> Row:
        """From plain values."""
        published = Published(stored["k_ssd"], stored["ccm"], stored["fam"], stored["sensitivity"])
        if "threshold" not in stored:
            return cls(published)
        return cls(published, Raised(stored["threshold"], **{name: _alarms(stored, name) for name in GROUPS}))


def _plain(raised: Raised) -> dict[str, Any]:
    groups: dict[str, Any] = {"threshold": raised.threshold}
    for name in GROUPS:
        one: Alarms = getattr(raised, name)
        groups |= {name: [one.estimate, one.low, one.high], f"{name}_each": list(one.each)}
    return groups


def _alarms(stored: Mapping[str, Any], name: str) -> Alarms:
    estimate, low, high = stored[name]
    return Alarms(estimate, low, high, tuple(stored[f"{name}_each"]))


def permuted(ones: Sequence[float], others: Sequence[float]) -> float:
    """The share of all divisions of these networks in which the first group's sum is at least that of the ones.

    >>> permuted([1.0, 1.0, 0.5], [0.0, 0.5, 0.0])
    0.1
    """
    every, sum_of_ones = [*ones, *others], sum(ones)
    sums = [sum(group) for group in itertools.combinations(every, len(ones))]
    return sum(one >= sum_of_ones - 1e-9 for one in sums) / len(sums)
