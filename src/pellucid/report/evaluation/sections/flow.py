"""The flow of cases: how many were given, which were excluded and why, which were analysed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pellucid.errors import counted
from pellucid.evaluation.evaluation import Evaluation

NAMES = 500
"""The most names that are listed of one reason; the rest is counted."""
_USES = {
    "choose": "kept for choosing settings",
    "calibrate": "kept for calibration",
    "none": "in a split that the plan does not name",
}


@dataclass(frozen=True)
class Excluded:
    """A reason, how many it is true of, and the first names."""

    reason: str
    count: int
    names: Sequence[str]

    @property
    def more(self) -> int:
        """How many names are not listed."""
        return self.count - len(self.names)


@dataclass(frozen=True)
class Flow:
    """What the diagram shows."""

    given: str
    excluded: Sequence[Excluded]
    total: int
    others: Sequence[str]
    analysed: Sequence[str]


def flow_of(evaluation: Evaluation) -> Flow:
    """The flow in words and numbers."""
    flow = evaluation.flow
    excluded = [Excluded(reason, len(names), tuple(names[:NAMES])) for reason, names in flow.excluded.items()]
    others = [f"{counted(count, 'image')}: {_USES.get(use, use)}" for use, count in flow.other_splits.items()]
    analysed = (
        counted(flow.images, "image"),
        evaluation.unit.of(flow.patients, "image"),
        f"with {counted(flow.findings, 'finding')}",
        f"{counted(flow.lesion_free, 'image')} without a finding",
    )
    total = sum(one.count for one in excluded)
    return Flow(counted(flow.given, "case"), excluded, total, others, analysed)
