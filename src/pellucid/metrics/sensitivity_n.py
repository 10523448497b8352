"""Sensitivity-n (Ancona et al. 2018, arXiv:1711.06104): faithfulness correlation over several sizes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from pellucid.core.metric import Cases, Change, Metric, Takes, Values, register_metric
from pellucid.core.replacement import Replacement, check_replacement
from pellucid.metrics._curves import check_count
from pellucid.metrics._subsets import Score, check_samples, check_score, correlated, falls_and_sums, pixels

SMALLEST, LARGEST = 0.01, 0.8
"""The smallest and the largest set, as shares of the pixels."""


@register_metric("sensitivity_n")
@dataclass(frozen=True)
class SensitivityN(Metric):
    """The mean correlation of the score's fall without n pixels with their attributions, over n; higher is better.

    S = mean_n corr_S(φ(S), f(x) − f(x_S)), in [−1, 1], over random sets S of n pixels for each of several n from 1 % to
    80 % of the pixels, at equal ratios. φ(S) is the sum of the attributions (*space) in S, x_S the image (C, *space)
    with S replaced in all channels, and f the probability of the explained class. The paper plots it against n. It
    takes signed attributions. A constant map, and a score that the sets of one size do not change, have no correlation.

    ``sizes``: the number of different n. ``samples``: the number of sets for each; they are the same for all images.
    ``baseline``: what replaces them, 0 in the model's input as in the paper, "mean", "blur" or ``References``.
    ``score``: probability, or the logit.

    >>> import torch, pellucid
    >>> class Brightness(torch.nn.Module):
    ...     def forward(self, x):
    ...         return x.flatten(1).mean(1, keepdim=True)
    >>> image = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    >>> metric = pellucid.metrics.SensitivityN(samples=20, score="logit")
    >>> scores = pellucid.evaluate(Brightness(), image, image[:, 0], targets=1, head="binary", metrics=[metric])
    >>> round(scores["sensitivity_n(samples=20, score=logit)"].item(), 3)
    1.0
    """

    sizes: int = 5
    samples: int = 100
    baseline: Replacement = "zero"
    score: Score = "probability"

    takes: ClassVar[Takes] = "attributions"
    unchanged_by: ClassVar[frozenset[Change]] = frozenset({"scale", "shift"})
    better: ClassVar[Literal["higher", "lower"] | None] = "higher"

    def __post_init__(self) -> None:
        """Refuse options that are not possible."""
        check_count("sizes", self.sizes)
        check_samples(self.samples)
        check_replacement(self.baseline, "baseline")
        check_score(self.score)

    def update(self, cases: Cases) -> Values:
        """Each case's mean correlation."""
        found = [self._of(cases, count) for count in self.counts(cases.maps.shape[1:].numel())]
        missing: dict[str, Tensor] = {}
        for one in found:
            missing |= {name: which | missing.get(name, which) for name, which in one.missing.items()}
        return Values(torch.stack([one.values for one in found]).mean(dim=0), missing)

    def counts(self, pixels: int) -> list[int]:
        """The numbers of pixels."""
        ratio = (LARGEST / SMALLEST) ** (1 / max(1, self.sizes - 1))
        return [max(1, round(SMALLEST * ratio**size * pixels)) for size in range(self.sizes)]

    def _of(self, cases: Cases, count: int) -> Values:
        draw = pixels(count, cases.maps.shape[1:])
        return correlated(cases, *falls_and_sums(cases, draw, self.samples, self.baseline, self.score))
