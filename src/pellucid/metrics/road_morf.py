"""ROAD, most relevant first (Rong et al. 2022, arXiv:2202.00449): the change without what a map shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from pellucid.core.metric import Cases, Change, Metric, Takes, Values, register_metric
from pellucid.metrics._road import changes, check_road


@register_metric("road_morf")
@dataclass(frozen=True)
class ROADMoRF(Metric):
    """The mean change of the score where the map's highest pixels are imputed from the others; lower is better.

    ROAD = Σ_{k=1..n} (f(x_k) − f(x)) / n, in [−1, 1] for probabilities, where in x_k the highest k/(n + 1) of the
    pixels are replaced by noisy linear imputation: each is the weighted mean of its eight neighbours, known or imputed
    (26 in a volume), plus Gaussian noise, so that the outline of what was removed gives little away. f is the
    probability of the explained class. The value is pytorch-grad-cam's; the paper gives the accuracy of the model at
    each share. It takes signed attributions. Equal values of the map are in a random order, that of a seed. No metric
    to rank methods by alone.

    ``steps``: n, the shares 10 % to 90 %. ``noise``: its standard deviation, in the unit of the model's input.

    >>> import torch, pellucid
    >>> class Brightness(torch.nn.Module):
    ...     def forward(self, x):
    ...         return x.flatten(1).mean(1, keepdim=True)
    >>> image = torch.zeros(1, 1, 8, 8)
    >>> image[..., 2:6, 2:6] = 16.0
    >>> metrics = ["road_morf", "road_lerf"]
    >>> scores = pellucid.evaluate(Brightness(), image, image[:, 0], targets=1, head="binary", metrics=metrics)
    >>> [round(scores[name].item(), 2) for name in metrics]
    [-0.39, 0.01]
    """

    steps: int = 9
    noise: float = 0.01

    takes: ClassVar[Takes] = "attributions"
    unchanged_by: ClassVar[frozenset[Change]] = frozenset({"scale", "shift", "monotone"})
    better: ClassVar[Literal["higher", "lower"] | None] = "lower"

    def __post_init__(self) -> None:
        """Refuse options that are not possible."""
        check_road(self.steps, self.noise)

    def update(self, cases: Cases) -> Values:
        """Each case's mean change."""
        return changes(cases, cases.maps, self.steps, self.noise)
