"""Insertion (Petsiuk et al. 2018, arXiv:1806.07421): how fast the score rises as what the map shows is put in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from pellucid.core.metric import Cases, Change, Metric, Takes, Values, register_metric
from pellucid.core.ranking import area
from pellucid.core.replacement import Replacement, check_replacement
from pellucid.metrics._curves import check_count, inserted


@register_metric("insertion_auc")
@dataclass(frozen=True)
class Insertion(Metric):
    """The area below the score's curve as the image's pixels are put into a baseline, the map's highest first.

    AUC = Σ_{k=1..n} (f(x_{k−1}) + f(x_k)) / 2n, in [0, 1] for probabilities, where x_k is the baseline (C, *space)
    with the first round(k · pixels / n) pixels of the order taken from the image, and f the probability of the
    explained class. Higher is better. A model with the constant probability p has exactly p. Equal values of the map
    are in a random order, that of a seed. It takes signed attributions: evidence against the class goes last.

    ``steps``: n. ``baseline``: what the image is put into, 0 in the model's input, as for ``Deletion``. The paper puts
    it into a blur: ``Insertion(baseline="blur")``; the blur here is a Gaussian's with an eighth of each side as its
    standard deviation. Others are "mean" and ``References``. The scores' notes say where the baseline scores no lower
    than the image.

    >>> import torch, pellucid
    >>> class Brightness(torch.nn.Module):
    ...     def forward(self, x):
    ...         return x.flatten(1).mean(1, keepdim=True)
    >>> image = torch.zeros(1, 1, 4, 4)
    >>> image[..., 1:3, 1:3] = 16.0
    >>> scores = [
    ...     pellucid.evaluate(
    ...         Brightness(), image, heat, targets=1, head="binary", metrics=[pellucid.metrics.Insertion(steps=4)]
    ...     )["insertion_auc(steps=4)"].item()
    ...     for heat in (image[:, 0], -image[:, 0])
    ... ]
    >>> [round(score, 3) for score in scores]
    [0.922, 0.56]
    """

    steps: int = 50
    baseline: Replacement = "zero"

    takes: ClassVar[Takes] = "attributions"
    unchanged_by: ClassVar[frozenset[Change]] = frozenset({"scale", "shift", "monotone"})
    better: ClassVar[Literal["higher", "lower"] | None] = "higher"

    def __post_init__(self) -> None:
        """Refuse options that are not possible."""
        check_count("steps", self.steps)
        check_replacement(self.baseline, "baseline")

    def update(self, cases: Cases) -> Values:
        """The area below each case's curve."""
        curves = inserted(cases, self.steps, self.baseline)
        return Values(area(curves.scores), curves.missing, curves.notes)
