"""Average drop (Chattopadhay et al. 2018, doi:10.1109/WACV.2018.00097): what is lost where only the map stays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from pellucid.core.metric import Cases, Metric, Values, register_metric
from pellucid.core.replacement import Replacement, check_replacement
from pellucid.metrics._masked import masked_scores

NOT_POSITIVE = "the score is not above 0"


@register_metric("average_drop")
@dataclass(frozen=True)
class AverageDrop(Metric):
    """The fraction of the score that is lost where the image is multiplied by its heatmap; lower is better.

    AD = max(0, f(x) − f(h · x + (1 − h) · b)) / f(x), in [0, 1], where x is the image (C, *space), h the heatmap
    (*space) in [0, 1], b the baseline and f the probability of the explained class. The paper gives it in percent. A
    score that is not above 0, as another quantity than a probability may have, leaves no value. A map that is 1
    everywhere has the best value: look at a metric of localisation, too. It takes heatmaps.

    ``baseline``: 0 in the model's input as in the paper; "mean", "blur", or ``References``.

    >>> import torch, pellucid
    >>> class Brightness(torch.nn.Module):
    ...     def forward(self, x):
    ...         return x.flatten(1).mean(1, keepdim=True)
    >>> image, heat = torch.ones(1, 1, 4, 4), torch.ones(1, 4, 4)
    >>> heat[:, :2] = 0
    >>> scores = pellucid.evaluate(Brightness(), image, heat, targets=1, head="binary", metrics=["average_drop"])
    >>> round(scores["average_drop"].item(), 3)  # 1 − σ(0.5) / σ(1)
    0.149
    """

    baseline: Replacement = "zero"

    better: ClassVar[Literal["higher", "lower"] | None] = "lower"

    def __post_init__(self) -> None:
        """Refuse options that are not possible."""
        check_replacement(self.baseline, "baseline")

    def update(self, cases: Cases) -> Values:
        """Each case's relative drop."""
        after, found = masked_scores(cases, self.baseline)
        before = cases.probabilities.cpu().double()
        drop = (before - after.cpu().double()).clamp(min=0) / before
        return Values(drop, {**found.reasons(), NOT_POSITIVE: before <= 0})
