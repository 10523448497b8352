"""Faithfulness correlation (Bhatt et al. 2020, arXiv:2005.00631): attributions and the score's fall without pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from pellucid.core.metric import Cases, Change, Metric, Takes, Values, register_metric
from pellucid.core.replacement import Replacement, check_replacement
from pellucid.metrics._subsets import (
    Score,
    check_samples,
    check_score,
    check_share,
    correlated,
    falls_and_sums,
    pixels,
)


@register_metric("faithfulness_correlation")
@dataclass(frozen=True)
class FaithfulnessCorrelation(Metric):
    """Pearson's correlation of the score's fall without random pixels with their attributions; higher is better.

    r = corr_S(φ(S), f(x) − f(x_S)), in [−1, 1], over random sets S of pixels of one size. φ(S) is the sum of the
    attributions (*space) in S, x_S the image (C, *space) with S replaced in all channels, and f the probability of the
    explained class. It takes signed attributions. A constant map, and a score that no set changes, have no correlation.
    Random single pixels change most scores little: expect values near 0.

    ``samples``: the number of sets; they are the same for all images. ``share``: their size as a share of the pixels.
    ``baseline``: what replaces them, 0 in the model's input, "mean", "blur" or ``References``. ``score``: probability,
    or the logit.

    >>> import torch, pellucid
    >>> class Brightness(torch.nn.Module):
    ...     def forward(self, x):
    ...         return x.flatten(1).mean(1, keepdim=True)
    >>> image = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    >>> metric = pellucid.metrics.FaithfulnessCorrelation(score="logit")
    >>> scores = pellucid.evaluate(Brightness(), image, image[:, 0], targets=1, head="binary", metrics=[metric])
    >>> round(scores["faithfulness_correlation(score=logit)"].item(), 3)
    1.0
    """

    samples: int = 100
    share: float = 0.1
    baseline: Replacement = "zero"
    score: Score = "probability"

    takes: ClassVar[Takes] = "attributions"
    unchanged_by: ClassVar[frozenset[Change]] = frozenset({"scale", "shift"})
    better: ClassVar[Literal["higher", "lower"] | None] = "higher"

    def __post_init__(self) -> None:
        """Refuse options that are not possible."""
        check_samples(self.samples)
        check_share("share", self.share)
        check_replacement(self.baseline, "baseline")
        check_score(self.score)

    def update(self, cases: Cases) -> Values:
        """Each case's correlation."""
        space = cases.maps.shape[1:]
        draw = pixels(max(1, round(self.share * space.numel())), space)
        return correlated(cases, *falls_and_sums(cases, draw, self.samples, self.baseline, self.score))
