"""The figures of ``benchmarks.fooled``, and how they are stored."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks import results
from benchmarks.fooled_networks import NETWORKS
from pellucid.statistics import Interval

NAME = "fooled"
POINT = 0.01
"""The accuracy is kept if the whole interval of its change lies within this."""


@dataclass(frozen=True)
class Figure:
    """An estimate with its 95 % interval; None where it is withheld."""

    estimate: float
    low: float | None
    high: float | None

    @classmethod
    def of(cls, found: Interval) -> Figure:
        """From an interval."""
        if found.withheld is not None:
            return cls(found.estimate, None, None)
        return cls(found.estimate, found.low, found.high)

    def apart(self, other: Figure) -> bool:
        """Whether the two intervals have no point in common; a withheld one is apart from none."""
        if self.low is None or self.high is None or other.low is None or other.high is None:
            return False
        return self.high < other.low or other.high < self.low

    def within(self, margin: float) -> bool:
        """Whether the interval lies within −margin and margin."""
        return self.low is not None and self.high is not None and -margin < self.low and self.high < margin


@dataclass(frozen=True)
class OfMethod:
    """The figures of a method's maps: hit rate, deletion AUC minus that of random order by baseline, empty maps.

    ``cases``: how many maps. ``likeness``: the mean rank correlation with the reference's maps; None where all maps
    of one are constant.
    """

    cases: int
    hits: Figure
    gaps: Mapping[str, Figure]
    empty: float
    likeness: float | None

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> OfMethod:
        """From a mapping that was stored."""
        gaps = {baseline: Figure(**one) for baseline, one in stored["gaps"].items()}
        return cls(stored["cases"], Figure(**stored["hits"]), gaps, stored["empty"], stored["likeness"])


@dataclass(frozen=True)
class OfNetwork:
    """The figures of a network: ``change`` of the accuracy against the reference, and ``same``: equal predictions."""

    accuracy: Figure
    change: Figure
    auc: float
    same: float
    tested: int
    methods: Mapping[str, OfMethod]

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> OfNetwork:
        """From a mapping that was stored."""
        known = {**stored, **{name: Figure(**stored[name]) for name in ("accuracy", "change")}}
        return cls(**{**known, "methods": {name: OfMethod.of(one) for name, one in stored["methods"].items()}})


def reference(name: str) -> str:
    """The network that another is compared with: the untouched one, on the same images."""
    return "framed" if NETWORKS[name].framed else "untouched"


def read() -> dict[str, OfNetwork]:
    """The results of earlier runs, in the order in which they are shown."""
    path = results.FOLDER / f"{NAME}.json"
    stored = json.loads(path.read_text()) if path.exists() else {}
    return {name: OfNetwork.of(stored[name]) for name in NETWORKS if name in stored}


def keep(known: Mapping[str, OfNetwork]) -> None:
    """Store the results so far; what is no number is null."""
    stored = json.dumps({name: asdict(known[name]) for name in NETWORKS if name in known})
    rounded = json.loads(stored, parse_float=lambda number: round(float(number), 5), parse_constant=lambda _: None)
    (results.FOLDER / f"{NAME}.json").write_text(json.dumps(rounded, indent=1) + "\n")
