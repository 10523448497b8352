"""Random logit test (Sixt et al. 2020, arXiv:1912.09818): whether a map depends on its class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from pellucid.core.metric import Cases, Metric, Values, register_metric
from pellucid.metrics._randomised import Similarity, adopt, against

ONE_CLASS = "there is no other class"
ONE_VALUE = "the other direction of a value is no other class"
NO_CLASS = "no class was explained"


@register_metric("random_logit")
@dataclass(frozen=True)
class RandomLogit(Metric):
    """Random logit: the similarity of the map to that of another class of the same image, picked at random.

    With m_k the map of class k, s the ``similarity``, and j uniform among the other classes, seeded, for each case::

        s(m_k, m_j),   j ≠ k

    It has the range of the similarity, and takes what that does, heatmaps or attributions. It is a gate and no grade:
    at 1, as for methods that are not class-specific, the map says nothing of its class. Where one logit stands for a
    finding, the other class is its absence. "Higher" and "lower" of a value of a regression head are one another's
    negative: j is among those of the other values, and where there is one value only, no case has a value. Costs one
    map for each image and class.

    >>> import torch, pellucid
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(64, 2))
    >>> images = torch.rand(2, 1, 16, 16)
    >>> explanation = pellucid.explain(model, images, "saliency")
    >>> pellucid.evaluate(model, images, explanation, metrics=["random_logit"])["random_logit"].shape
    torch.Size([2, 1])
    """

    similarity: Similarity = "ssim"

    better: ClassVar[Literal["higher", "lower"] | None] = None

    def __post_init__(self) -> None:
        """Take what the similarity does."""
        adopt(self, self.similarity)

    def update(self, cases: Cases) -> Values:
        """The similarity of each case."""
        others, classes = cases.outputs.shape[1] - _alike(cases), cases.classes
        if others < 1:
            reason = ONE_VALUE if cases.directions else ONE_CLASS
            return Values(torch.full(classes.shape, torch.nan), {reason: torch.ones_like(classes, dtype=torch.bool)})
        found = against(self.similarity, cases.maps)(cases.maps_of_class(_others(cases, others)))
        return Values(found.values, {NO_CLASS: classes < 0, **found.missing})


def _alike(cases: Cases) -> int:
    """So many classes in a row are one: the directions of a value, or a class alone."""
    return 2 if cases.directions else 1


def _others(cases: Cases, count: int) -> Tensor:
    """Another class for each case, one of ``count``, (P,)."""
    drawn = torch.randint(count, (int(cases.numbers.max()) + 1,), generator=cases.generator())
    others, alike = drawn.to(cases.numbers.device)[cases.numbers], _alike(cases)
    return others + alike * (others >= cases.classes // alike * alike).long()
