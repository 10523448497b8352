"""Model parameter randomisation test (Adebayo et al. 2018, arXiv:1810.03292): whether a map depends on the weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from pellucid.core.metric import Cases, LayerOrder, Metric, Values, register_metric
from pellucid.metrics._randomised import Similarity, adopt, check_order, mean_over_layers


@register_metric("mprt")
@dataclass(frozen=True)
class MPRT(Metric):
    """Model parameter randomisation: the mean similarity of the map to those of the network with random weights.

    Layer after layer gets random weights, as its type initialises them, a norm's running statistics with them. With m
    the map, m_l that of the network after layer l became random, and s the ``similarity``::

        1/L Σ_{l=1…L} s(m, m_l)

    ``order``: top_down from the output to the input, and the layers before stay random; bottom_up the other way;
    independent, one layer at a time; all at once. The untouched network is not averaged in. ``Scores.steps`` holds the
    similarity of each layer, by its name. Layers at which a map is constant have none, and are left out of the mean; a
    case without any has no value. The class and the explained layers are those of the image as it is. It has the range
    of the similarity, and takes what that does, heatmaps or attributions.

    It is a gate and no grade: a map whose similarity stays near 1 does not depend on what the network has learned, as
    that of an edge detector; of two maps that pass, the lower is not the better one (Binder et al. 2023,
    arXiv:2211.12486). Costs as many times the method as there are layers with weights of their own.

    >>> import torch, pellucid
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(64, 2))
    >>> images = torch.rand(2, 1, 16, 16)
    >>> explanation = pellucid.explain(model, images, "saliency")
    >>> scores = pellucid.evaluate(model, images, explanation, metrics=["mprt"])
    >>> scores["mprt"].shape, list(scores.steps["mprt"])
    (torch.Size([2, 1]), ['4', '0'])
    """

    similarity: Similarity = "spearman"
    order: LayerOrder = "top_down"

    better: ClassVar[Literal["higher", "lower"] | None] = None

    def __post_init__(self) -> None:
        """Take what the similarity does; refuse an order that there is not."""
        adopt(self, self.similarity)
        check_order(self.order)

    def update(self, cases: Cases) -> Values:
        """The mean similarity of each case, and that of each layer."""
        return mean_over_layers(self.similarity, cases.maps, cases.maps_randomised(self.order))
