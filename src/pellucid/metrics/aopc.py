"""Pixel flipping (Samek et al. 2017, doi:10.1109/TNNLS.2016.2599820): the area over the perturbation curve, AOPC."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from pellucid.core.metric import Cases, Change, Metric, Takes, Values, register_metric
from pellucid.core.replacement import Replacement, check_replacement
from pellucid.metrics._curves import check_count, deleted


@register_metric("aopc")
@dataclass(frozen=True)
class AOPC(Metric):
    """The mean fall of the score as the image's pixels are replaced, the map's highest first; higher is better.

    AOPC = Σ_{k=0..L} (f(x) − f(x_k)) / (L + 1), in [−1, 1] for probabilities, where x_k is the image (C, *space) with
    the first round(k · pixels / L) pixels of the order replaced in all channels, and f the probability of the explained
    class. Equal values of the map are in a random order, that of a seed. It takes signed attributions: evidence against
    the class goes last.

    ``steps``: L. ``baseline``: what pixels are replaced by, as for ``Deletion``; the paper flips regions of 9 × 9
    pixels to noise, and Quantus' pixel flipping sets pixels to a constant, as is done here. The scores' notes say where
    the image replaced as a whole scores no lower.

    >>> import torch, pellucid
    >>> class Brightness(torch.nn.Module):
    ...     def forward(self, x):
    ...         return x.flatten(1).mean(1, keepdim=True)
    >>> image = torch.zeros(1, 1, 4, 4)
    >>> image[..., 1:3, 1:3] = 16.0
    >>> metrics = [pellucid.metrics.AOPC(steps=4)]
    >>> scores = pellucid.evaluate(Brightness(), image, image[:, 0], targets=1, head="binary", metrics=metrics)
    >>> round(scores["aopc(steps=4)"].item(), 3)  # 4/5 of the fall from 0.982 to 0.5
    0.386
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
        """Each case's mean fall."""
        curves = deleted(cases, self.steps, self.baseline)
        scores = curves.scores.cpu().double()
        return Values((scores[:, :1] - scores).mean(dim=1), curves.missing, curves.notes)
