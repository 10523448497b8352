"""``Scores``: what ``evaluate`` and ``compare`` measured, a value for every image and class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from pellucid.core.metric import Comparison, Metric
from pellucid.core.registry import options
from pellucid.errors import OptionError, ShapeError, did_you_mean
from pellucid.statistics import Interval, mean, proportion
from pellucid.statistics.arrays import names_of
from pellucid.statistics.samples import Patients

Reasons = tuple[tuple[str | None, ...], ...]


@dataclass(frozen=True, eq=False)
class Scores:
    """The values of B images and K classes by metric.

    ``values`` maps a metric's name to (B, K) float64: NaN where there is no value, and ``reasons`` says why, (B, K) of
    text or None. ``metrics`` are the metrics themselves, by the same names. ``targets`` (B, K) int64: the classes.
    ``notes`` maps a metric's name to what has to be known of some values: a statement, and where it holds, (B, K) bool.
    ``steps``: of metrics whose values are means over steps, such as layers, the values (B, K) of each by its name.

    ``scores["iou"]`` is a metric's values; ``table()`` has a row for each metric.
    """

    values: Mapping[str, Tensor]
    reasons: Mapping[str, Reasons]
    metrics: Mapping[str, Metric | Comparison]
    targets: Tensor
    notes: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)
    steps: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Tensor:
        """A metric's values, (B, K)."""
        if name not in self.values:
            hint = did_you_mean(name, self.values)
            raise OptionError(f"metric {name!r} was asked for; these are {', '.join(self.values)}{hint}")
        return self.values[name]

    def __iter__(self) -> Iterator[str]:
        """The metrics' names."""
        return iter(self.values)

    def figure(self, name: str) -> float:
        """One figure of a metric: the mean of its values, or what the metric makes of them."""
        return self.metrics[name].compute(self[name].flatten())

    def missing(self, name: str) -> Mapping[str, int]:
        """How many values a metric does not have, by reason."""
        self[name]
        return Counter(reason for row in self.reasons[name] for reason in row if reason is not None)

    def interval(self, name: str, patients: Patients = None) -> Interval:
        """The mean of a metric's values with its 95 % interval, where patients are the units.

        ``patients``: whose each of the B images is; None: each is a patient's own. Of hits the exact interval on the
        effective sample (``pellucid.statistics.proportion``), else the studentised bootstrap by patient
        (``pellucid.statistics.mean``). It is withheld, with the reason, where its coverage was not shown.
        """
        values = self[name]
        whose = list(range(len(values))) if patients is None else names_of("patients", patients)
        if len(whose) != len(values):
            raise ShapeError(f"{len(whose)} patients were given; there are {len(values)} images: name one for each")
        each = [patient for patient in whose for _ in range(values.shape[1])]
        numbers = values.flatten().numpy()
        known = values[~values.isnan()]
        if getattr(self.metrics[name], "proportion", False) and bool(((known == 0) | (known == 1)).all()):
            return proportion(numbers, each)
        return mean(numbers, each, generator=np.random.default_rng(0))

    def table(self, patients: Patients = None) -> str:
        """A row for each metric: its mean and interval, the number of values, those that there are not, and its notes.

        ``patients`` as for ``interval``.
        """
        rows = [("metric", "mean", "95 % interval", "cases", "without a value", "noted")]
        for name, values in self.values.items():
            count = int((~values.isnan()).sum())
            missing = "; ".join(f"{number}: {reason}" for reason, number in self.missing(name).items())
            figure = f"{self.figure(name):.4g}" if count else "–"
            rows.append((name, figure, self._bounds(name, patients), str(count), missing, self._noted(name)))
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)

    def _bounds(self, name: str, patients: Patients) -> str:
        """A metric's interval as text, or why there is none."""
        found = self.interval(name, patients)
        return found.withheld or f"{round(found.low, 4):.4g} to {round(found.high, 4):.4g}"

    def _noted(self, name: str) -> str:
        """How many values a metric's notes are about."""
        counts = {note: int(cases.sum()) for note, cases in self.notes.get(name, {}).items()}
        return "; ".join(f"{count}: {note}" for note, count in counts.items() if count)

    def __repr__(self) -> str:
        """One line, without the numbers."""
        images, columns = self.targets.shape
        return f"Scores({', '.join(self.values)}: {images} × {columns})"


def labelled(metric: Metric | Comparison) -> str:
    """A metric's name, with the options that are not its defaults: ``deletion_auc(steps=10)``."""
    defaults = options(type(metric))
    changed = {key: getattr(metric, key) for key, default in defaults.items() if getattr(metric, key) != default}
    return f"{metric.name}({', '.join(f'{key}={value}' for key, value in changed.items())})" if changed else metric.name
