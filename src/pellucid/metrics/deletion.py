"""Deletion (Petsiuk et al. 2018, arXiv:1806.07421): how fast the score falls as what the map shows is taken out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from pellucid.core.metric import Cases, Change, Metric, Takes, Values, register_metric
from pellucid.core.ranking import area
from pellucid.core.replacement import Replacement, check_replacement
from pellucid.metrics._curves import check_count, deleted


@register_metric("deletion_auc")
@dataclass(frozen=True)
class Deletion(Metric):
    """The area below the score's curve as the image's pixels are replaced, the map's highest first; lower is better.

    AUC = Σ_{k=1..n} (f(x_{k−1}) + f(x_k)) / 2n, in [0, 1] for probabilities, where x_k is the image (C, *space) with
    the first round(k · pixels / n) pixels of the order replaced in all channels, and f the probability of the explained
    class. A model with the constant probability p has exactly p. Equal values of the map are in a random order, that
    of a seed. It takes signed attributions: evidence against the class goes last.

    ``steps``: n. ``baseline``: what pixels are replaced by, 0 in the model's input as in the paper; "mean", "blur", or
    ``References``. The order among methods depends on it: look at two. The scores' notes say where the image replaced
    as a whole scores no lower, so that the curve says little.

    >>> import torch, pellucid
    >>> class Brightness(torch.nn.Module):
    ...     def forward(self, x):
    ...         return x.flatten(1).mean(1, keepdim=True)
    >>> image = torch.zeros(1, 1, 4, 4)
    >>> image[..., 1:3, 1:3] = 16.0
    >>> scores = [
    ...     pellucid.evaluate(
    ...         Brightness(), image, heat, targets=1, head="binary", metrics=[pellucid.metrics.Deletion(steps=4)]
    ...     )["deletion_auc(steps=4)"].item()
    ...     for heat in (image[:, 0], -image[:, 0])
    ... ]
    >>> [round(score, 3) for score in scores]
    [0.56, 0.922]
    """

    steps: int = 50
    baseline: Replacement = "zero"

    takes: ClassVar[Takes] = "attributions"
    unchanged_by: ClassVar[frozenset[Change]] = frozenset({"scale", "shift", "monotone"})
    better: ClassVar[Literal["higher", "lower"] | None] = "lower"

    def __post_init__(self) -> None:
        """Refuse options that are not possible."""
        check_count("steps", self.steps)
        check_replacement(self.baseline, "baseline")

    def update(self, cases: Cases) -> Values:
        """The area below each case's curve."""
        curves = deleted(cases, self.steps, self.baseline)
        return Values(area(curves.scores), curves.missing, curves.notes)
