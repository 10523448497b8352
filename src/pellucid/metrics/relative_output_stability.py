"""Relative output stability (Agarwal et al. 2022, arXiv:2203.06877): a map's change against that of the logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from pellucid.core.metric import Cases, Change, Metric, Takes, Values, register_metric
from pellucid.metrics._nearby import check_noise, noisy, uniform
from pellucid.metrics._sensitivity import check_least, distance, is_kept, ratio, stability


@register_metric("relative_output_stability")
@dataclass(frozen=True)
class RelativeOutputStability(Metric):
    """Relative output stability: the largest relative change of the map over the change of the logits. Lower is better.

    With m(x) the attributions of image x at its size, h(x) all logits, images y_i near x as for ``max_sensitivity``,
    divisions value by value, and ε = ``least``::

        max_i ‖(m(x) − m(y_i)) / m(x)‖₂ / max(‖h(x) − h(y_i)‖₂, ε)

    over those y_i whose prediction is x's (the largest logit); where there is none, there is no value. A value of m(x)
    that is 0 counts as ε in the quotient, as in Quantus: maps with many zeros have values of the order of 1/ε, and are
    comparable among themselves only. From 0 up, in 1/logit. It takes attributions, as they are; a scale of the maps
    leaves it unchanged where no value is 0. Costs ``samples`` times the method.

    >>> import torch, pellucid
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(64, 2))
    >>> images = torch.rand(2, 1, 16, 16)
    >>> explanation = pellucid.explain(model, images, "saliency")
    >>> metric = pellucid.metrics.RelativeOutputStability(samples=3, radius=0.001)
    >>> [values] = pellucid.evaluate(model, images, explanation, metrics=[metric]).values.values()
    >>> values.shape
    torch.Size([2, 1])
    """

    samples: int = 10
    radius: float = 0.02
    least: float = 1e-6

    takes: ClassVar[Takes] = "attributions"
    unchanged_by: ClassVar[frozenset[Change]] = frozenset()
    better: ClassVar[Literal["higher", "lower"] | None] = "lower"

    def __post_init__(self) -> None:
        """Refuse options outside their range."""
        check_noise(self.samples, "radius", self.radius)
        check_least(self.least)

    def update(self, cases: Cases) -> Values:
        """The largest ratio of each case."""
        maps, logits, kept = [], [], []
        for made in cases.remade(self.samples, noisy(cases, uniform, self.radius, self.samples)):
            maps.append(ratio(made.maps, cases.maps, self.least))
            logits.append(distance(cases.outputs, made.outputs).clamp(min=self.least))
            kept.append(is_kept(cases, made.outputs))
        return stability(cases, maps, logits, kept)
