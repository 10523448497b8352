"""Infidelity (Yeh et al. 2019, arXiv:1901.09392): how badly attributions predict the score's fall without a part."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from pellucid.core.metric import Cases, Change, Metric, Takes, Values, register_metric
from pellucid.core.replacement import Replacement, check_replacement
from pellucid.metrics._subsets import Score, boxes, check_samples, check_score, check_share, falls_and_sums


@register_metric("infidelity")
@dataclass(frozen=True)
class Infidelity(Metric):
    """The mean squared error of the score's fall without a part, predicted by its attributions; lower is better.

    INFD = Σ_S (β φ(S) − f(x) + f(x_S))² / N over N random boxes S, in [0, 1] for probabilities, with the scale β = Σ
    φ(S) (f(x) − f(x_S)) / Σ φ(S)² that minimises it. φ(S) is the sum of the attributions (*space) within S, which it
    takes as they are: contributions to the score, such as gradient × input. x_S is the image (C, *space) with S
    replaced in all channels (the paper's square removal), and f the probability of the explained class. As β may have
    either sign, a map and its negative have the same value; an empty one has β = 0, the mean squared fall.

    ``samples``: N; the boxes are the same for all images. ``side``: the box's share of each side. ``baseline``: what
    replaces it, 0 in the model's input, "mean", "blur" or ``References``. ``score``: probability, or the logit.

    >>> import torch, pellucid
    >>> class Brightness(torch.nn.Module):
    ...     def forward(self, x):
    ...         return x.flatten(1).mean(1, keepdim=True)
    >>> image = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    >>> metric = pellucid.metrics.Infidelity(score="logit")
    >>> for heat in (image[:, 0], 1 - image[:, 0]):  # the logit is the image's mean: the image explains it
    ...     scores = pellucid.evaluate(Brightness(), image, heat, targets=1, head="binary", metrics=[metric])
    ...     print(scores["infidelity(score=logit)"].item() < 1e-9)
    True
    False
    """

    samples: int = 100
    side: float = 0.25
    baseline: Replacement = "zero"
    score: Score = "probability"

    takes: ClassVar[Takes] = "attributions"
    unchanged_by: ClassVar[frozenset[Change]] = frozenset({"scale"})
    better: ClassVar[Literal["higher", "lower"] | None] = "lower"

    def __post_init__(self) -> None:
        """Refuse options that are not possible."""
        check_samples(self.samples)
        check_share("side", self.side)
        check_replacement(self.baseline, "baseline")
        check_score(self.score)

    def update(self, cases: Cases) -> Values:
        """Each case's mean squared error."""
        draw = boxes(self.side, cases.maps.shape[1:])
        falls, sums, missing = falls_and_sums(cases, draw, self.samples, self.baseline, self.score)
        size = sums.square().sum(dim=1)
        best = torch.where(size > 0, (sums * falls).sum(dim=1) / torch.where(size > 0, size, 1), 0)
        return Values((best[:, None] * sums - falls).square().mean(dim=1), missing)
