"""Increase in confidence (Chattopadhay et al. 2018, doi:10.1109/WACV.2018.00097): does what a map shows score more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from pellucid.core.metric import NO_SCORE, Cases, Metric, Values, register_metric
from pellucid.core.replacement import Replacement, check_replacement
from pellucid.metrics._masked import masked_scores


@register_metric("increase_in_confidence")
@dataclass(frozen=True)
class IncreaseInConfidence(Metric):
    """1 where the image scores higher when it is multiplied by its heatmap, else 0; higher is better.

    IC = 1[f(x) < f(h · x + (1 − h) · b)], where x is the image (C, *space), h the heatmap (*space) in [0, 1], b the
    baseline and f the probability of the explained class. The paper gives the percentage of the images. It takes
    heatmaps.

    ``baseline``: 0 in the model's input as in the paper; "mean", "blur", or ``References``.

    >>> import torch, pellucid
    >>> class Brightness(torch.nn.Module):
    ...     def forward(self, x):
    ...         return x.flatten(1).mean(1, keepdim=True)
    >>> image, heat = torch.ones(1, 1, 4, 4), torch.ones(1, 4, 4)
    >>> image[..., :2, :], heat[:, :2] = -1, 0
    >>> metrics = ["increase_in_confidence"]
    >>> pellucid.evaluate(Brightness(), image, heat, targets=1, head="binary", metrics=metrics)[metrics[0]].item()
    1.0
    """

    baseline: Replacement = "zero"

    better: ClassVar[Literal["higher", "lower"] | None] = "higher"
    proportion: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse options that are not possible."""
        check_replacement(self.baseline, "baseline")

    def update(self, cases: Cases) -> Values:
        """1 or 0 for each case."""
        after, found = masked_scores(cases, self.baseline)
        lost = ~(cases.probabilities.isfinite() & after.isfinite())
        return Values(cases.probabilities < after, {**found.reasons(), NO_SCORE: lost})
