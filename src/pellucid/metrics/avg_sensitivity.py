"""Average sensitivity (Yeh et al. 2019, arXiv:1901.09392): how far a map moves on average with its image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from pellucid.core.metric import Cases, Change, Metric, Takes, Values, register_metric
from pellucid.metrics._nearby import check_noise
from pellucid.metrics._sensitivity import relative_changes, sensitivity


@register_metric("avg_sensitivity")
@dataclass(frozen=True)
class AvgSensitivity(Metric):
    """Average sensitivity: the mean relative change of the map among images near the image. Lower is better.

    With m(x) the attributions of image x at its size, and y_i = x + r u_i with u_i uniform in [−1, 1] in each value and
    r = ``radius`` · (max x − min x)::

        1/n Σ_{i=1…n} ‖m(y_i) − m(x)‖₂ / ‖m(x)‖₂,   n = ``samples``

    From 0 up. The noise and all else are those of ``max_sensitivity``, which is never below it. It takes attributions,
    as they are; a scale of the maps leaves it unchanged. An empty map has no value. Costs ``samples`` times the method.

    >>> import torch, pellucid
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(64, 2))
    >>> images = torch.rand(2, 1, 16, 16)
    >>> explanation = pellucid.explain(model, images, "saliency")
    >>> metrics = [pellucid.metrics.AvgSensitivity(samples=3), pellucid.metrics.MaxSensitivity(samples=3)]
    >>> mean, most = pellucid.evaluate(model, images, explanation, metrics=metrics).values.values()
    >>> bool((mean > most).any())
    False
    """

    samples: int = 10
    radius: float = 0.02

    takes: ClassVar[Takes] = "attributions"
    unchanged_by: ClassVar[frozenset[Change]] = frozenset({"scale"})
    better: ClassVar[Literal["higher", "lower"] | None] = "lower"

    def __post_init__(self) -> None:
        """Refuse options outside their range."""
        check_noise(self.samples, "radius", self.radius)

    def update(self, cases: Cases) -> Values:
        """The mean relative change of each case."""
        changes = relative_changes(cases, self.samples, self.radius)
        return sensitivity(cases, changes, changes.mean(1))
