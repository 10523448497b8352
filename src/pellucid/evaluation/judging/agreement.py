"""How far metrics agree on the methods: best and worst ranks, and Kendall's tau between two baselines of a metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

from pellucid.evaluation.evaluation import Row
from pellucid.evaluation.measured import MetricFacts
from pellucid.evaluation.naming import parts_of
from pellucid.statistics import kendall, ranks

FEWEST = 3
"""The methods that are ranked at least: of two, any order is a perfect agreement or its opposite."""
BASELINES = ("baseline", "replacement")
"""The options of metrics that say what pixels are replaced by."""
Means = Mapping[str, Mapping[str, float]]
"""By metric, the mean of each method, larger being better."""


def means_of(rows: Sequence[Row], metrics: Mapping[str, MetricFacts]) -> dict[str, dict[str, float]]:
    """The mean of each method, priors left out, by metric: turned so that larger is better."""
    signs = {"higher": 1.0, "lower": -1.0}
    methods = [row for row in rows if not row.is_prior]
    return {
        name: {row.method: signs[facts.better] * row.figures["label"][name].estimate for row in methods}
        for name, facts in metrics.items()
        if facts.better in signs and methods and all(name in row.figures.get("label", {}) for row in methods)
    }


def ranks_of(means: Means) -> dict[str, tuple[float, float]]:
    """The best and the worst rank of each method among the metrics; nothing to rank with fewer than three methods."""
    if _too_few(means):
        return {}
    return {one.method: (one.best, one.worst) for one in ranks(means)}


def tau_of(means: Means, metrics: Mapping[str, MetricFacts]) -> dict[str, float]:
    """Kendall's tau between the methods' means under two baselines of one metric of faithfulness, by their labels.

    NaN where it is undefined; a metric that needs masks has no baseline. There is none with fewer than three methods.
    """
    if _too_few(means):
        return {}
    labels = [name for name in means if not metrics[name].needs_mask]
    return {
        f"{first} and {second}": kendall(list(means[first].values()), list(means[second].values())).tau
        for first, second in combinations(labels, 2)
        if _but_for_the_baseline(first) == _but_for_the_baseline(second)
    }


def _too_few(means: Means) -> bool:
    return not means or len(next(iter(means.values()))) < FEWEST


def _but_for_the_baseline(label: str) -> tuple[str, frozenset[tuple[str, str]]]:
    """A metric's name and its options, without the baseline."""
    name, options = parts_of(label)
    return name, frozenset((key, value) for key, value in options.items() if key not in BASELINES)
