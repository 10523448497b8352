"""One figure of a metric's values: its mean with the interval whose coverage was shown for such values."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pellucid.evaluation.measured import Column, MetricFacts
from pellucid.statistics import Interval, mean, proportion

SCORE = MetricFacts(better=None, proportion=False, needs_mask=False)
"""What is known of a score that is a share of an image or a correlation: its mean is taken."""


def figure(values: Column, facts: MetricFacts, patients: Sequence[str] | None, seed: int) -> Interval:
    """The mean of values (N,), NaN being left out and counted, with its 95 % interval by patient.

    Of hits ``statistics.proportion``, else ``statistics.mean``. Every figure is drawn with a generator of its own, so
    that it does not depend on which others there are.

    >>> facts = MetricFacts(better="higher", proportion=True, needs_mask=True)
    >>> print(figure(np.array([1.0, 0, 1, 1]), facts, list("abcd"), seed=0))
    0.750 (0.194 to 0.994)
    """
    known = values[~np.isnan(values)]
    if facts.proportion and bool(((known == 0) | (known == 1)).all()):
        return proportion(values, patients)
    return mean(values, patients, generator=np.random.default_rng(seed))
