"""Smooth MPRT (Hedström et al. 2024, arXiv:2401.06465): the randomisation test on maps without their noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from pellucid.core.metric import Cases, LayerOrder, Metric, Takes, Values, register_metric
from pellucid.core.space import mean_of
from pellucid.metrics._nearby import check_noise, noisy, normal
from pellucid.metrics._randomised import Similarity, adopt_changes, check_order, formed, mean_over_layers


@register_metric("smprt")
@dataclass(frozen=True)
class SmoothMPRT(Metric):
    """Smooth model parameter randomisation: ``mprt`` with the mean maps of noisy copies in place of the maps.

    With x_i = x + σ n_i, n_i standard normal and σ = ``noise`` · (max x − min x), and all else as for ``mprt``::

        m̄ = 1/n Σ_{i=1…n} m(x_i)          1/L Σ_{l=1…L} s(m̄, m̄_l),   n = ``samples``

    It takes attributions; a similarity of heatmaps gets those of the means.
    The noise of gradients makes any two maps differ, so that plain ``mprt`` finds noisy methods sensitive to weights.
    The noise is seeded, and the same for every image, layer and network. It is a gate and no grade, as ``mprt`` is.
    Costs ``samples`` times ``mprt``: with 50, the paper's, some thousands of maps for each image.

    >>> import torch, pellucid
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(64, 2))
    >>> images = torch.rand(2, 1, 16, 16)
    >>> explanation = pellucid.explain(model, images, "saliency")
    >>> metric = pellucid.metrics.SmoothMPRT(samples=3)
    >>> [values] = pellucid.evaluate(model, images, explanation, metrics=[metric]).values.values()
    >>> values.shape
    torch.Size([2, 1])
    """

    similarity: Similarity = "spearman"
    order: LayerOrder = "bottom_up"
    samples: int = 50
    noise: float = 0.1

    takes: ClassVar[Takes] = "attributions"
    better: ClassVar[Literal["higher", "lower"] | None] = None

    def __post_init__(self) -> None:
        """Refuse what compares no maps, and options outside their range."""
        adopt_changes(self, self.similarity)
        check_order(self.order)
        check_noise(self.samples, "noise", self.noise)

    def update(self, cases: Cases) -> Values:
        """The mean similarity of each case, and that of each layer."""
        variant = noisy(cases, normal, self.noise, self.samples)
        maps = mean_of(cases.maps_of(self.samples, variant))
        made = cases.maps_randomised(self.order, self.samples, variant)
        each = ((name, formed(self.similarity, one)) for name, one in made)
        return mean_over_layers(self.similarity, formed(self.similarity, maps), each)
