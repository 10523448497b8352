"""Effective complexity (Nguyen and Martínez 2020, arXiv:2007.07584): how many pixels a map marks at all."""

from __future__ import annotations

from dataclasses import dataclass

from pellucid.core.metric import Cases, Metric, Values, register_metric
from pellucid.errors import OptionError


@register_metric("effective_complexity")
@dataclass(frozen=True)
class EffectiveComplexity(Metric):
    """The number of pixels at which the heatmap is above ``epsilon``.

    Formula::

        |{x : m(x) > ε}|

    From 0 to the number of pixels. The paper asks for the fewest features that the prediction can be had from, and
    takes few for better; this is the count that Quantus made of it, which does not ask the model. Neither a high nor a
    low value speaks for a map. Takes heatmaps (P, *space); no change of the values leaves it as it is.

    >>> import torch, pellucid
    >>> from torchvision.models import resnet18
    >>> model, images, heat = resnet18(num_classes=3), torch.randn(1, 3, 64, 64), torch.zeros(1, 64, 64)
    >>> heat[:, :2] = 1
    >>> pellucid.evaluate(model, images, heat, metrics=["effective_complexity"])["effective_complexity"]
    tensor([[128.]], dtype=torch.float64)
    """

    epsilon: float = 1e-5

    def __post_init__(self) -> None:
        """Refuse a negative epsilon."""
        if not self.epsilon >= 0:
            raise OptionError(f"epsilon must be at least 0, got {self.epsilon}")

    def update(self, cases: Cases) -> Values:
        """The values (P,) of all cases."""
        return Values((cases.maps > self.epsilon).flatten(1).sum(1))
