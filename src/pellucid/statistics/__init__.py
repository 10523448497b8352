"""Statistics of evaluations, with patients as the units: intervals, comparisons with priors, and what is not shown.

Each function takes plain arrays (N,), one entry a case; NaN marks a missing value, which is excluded and counted.
``patients`` (N,) says whose each case is; without it each case is a patient of its own. Random numbers are drawn from
the generator that is passed, and from nothing else. What cannot be estimated is withheld, with the reason, instead of
being estimated badly; docs/statistics.md shows how often the intervals cover.
"""

from __future__ import annotations

from pellucid.statistics.correlation import rank_correlation
from pellucid.statistics.discrimination import auroc
from pellucid.statistics.equivalence import Equivalence, difference, equivalent
from pellucid.statistics.families import Claim, Plan, Verdict, holm, verdicts
from pellucid.statistics.intervals import Interval
from pellucid.statistics.means import mean
from pellucid.statistics.paired import Comparison, compare
from pellucid.statistics.pairs import Pair, all_pairs
from pellucid.statistics.power import cases_needed, cases_needed_by
from pellucid.statistics.proportions import proportion, wilson
from pellucid.statistics.ranks import Agreement, Rank, kendall, ranks
from pellucid.statistics.subgroups import subgroups

__all__ = [
    "Agreement",
    "Claim",
    "Comparison",
    "Equivalence",
    "Interval",
    "Pair",
    "Plan",
    "Rank",
    "Verdict",
    "all_pairs",
    "auroc",
    "cases_needed",
    "cases_needed_by",
    "compare",
    "difference",
    "equivalent",
    "holm",
    "kendall",
    "mean",
    "proportion",
    "rank_correlation",
    "ranks",
    "subgroups",
    "verdicts",
    "wilson",
]
