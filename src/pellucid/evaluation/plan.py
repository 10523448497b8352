"""What is fixed before any score is seen: the primary endpoint, what it is compared with, and who is scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pellucid.statistics.equivalence import MARGIN
from pellucid.statistics.power import DIFFERENCE, LEVEL

TARGETS = ("label", "predicted")
"""The classes that are explained: the annotated one, which gives the verdict, and the predicted one."""


@dataclass(frozen=True)
class EvaluationPlan:
    """The plan of an evaluation. Its primary endpoint gives the verdicts; all else is exploratory.

    ``primary`` is a metric with its options, such as "pointing_game" or "iou(threshold=0.3)"; ``tolerance`` is of the
    pointing game: "15 px" of the model's input, "2 %" of its diagonal or "5 mm". ``prior`` is the one that "worse" and
    "as good as" are about, ``margin`` the difference that does not matter, ``difference`` the one for which the cases
    needed are stated, ``level`` the one-sided level of each family of claims. ``methods`` and ``metrics`` are those to
    measure. ``choose``, ``test`` and ``calibrate`` name splits of the data set; without any, all cases are test.
    """

    primary: str = "pointing_game"
    tolerance: str = "0 px"
    prior: str = "mean_mask"
    margin: float = MARGIN
    difference: float = DIFFERENCE
    level: float = LEVEL
    methods: Sequence[str] = ("gradcam",)
    metrics: Sequence[str] = ("iou", "auprc", "relevance_mass", "lesion_coverage")
    choose: Sequence[str] = ()
    test: Sequence[str] = ()
    calibrate: Sequence[str] = ()
    seed: int = 0
