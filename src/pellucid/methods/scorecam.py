"""Score-CAM (Wang et al. 2020, arXiv:1910.01279): weigh each channel by the score of the image masked with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pellucid.core.attribution import Attribution
from pellucid.core.catalogue import register_method
from pellucid.core.concept import Concept
from pellucid.core.method import Method
from pellucid.core.perturbation import channel_weights, scores_of
from pellucid.core.probe import Probe
from pellucid.core.space import scale, weighted_sum
from pellucid.core.target import Targets


@register_method("scorecam")
@dataclass(frozen=True)
class ScoreCAM(Method):
    """Score-CAM: no gradient; one pass a channel of the layer.

    With A (C, *grid) the layer's output, M_k = A_k brought to the image's size and stretched to [0, 1], x the
    network's input and z the class's logit::

        w = softmax over k of z(x ⊙ M_k)        map = Σ_k w_k relu(A_k)

    The paper's layers end in a ReLU, where this is its relu( Σ_k w_k A_k ). Of a layer that stands before one, such as
    a batch norm, most values are negative and go no further, and no weight here is negative: the paper's map is empty.
    (The paper takes z(0) off first, which the softmax does not notice.) Where all z are equal no channel
    counts, and the map is 0. The class is that of the clean image. The map is (B, K, *grid), not negative. The
    network is run C times a image, ``Runtime.batch_size`` images a pass.

    When to use it: where gradients are not to be had or not trusted, and the layer has few channels. What the network
    says of an image with holes in it may be no evidence of anything.

    >>> import torch, pellucid
    >>> from torchvision.models import resnet18
    >>> pellucid.explain(resnet18(), torch.randn(1, 3, 64, 64), method="scorecam").attributions.shape
    torch.Size([1, 1, 2, 2])
    """

    uses_gradients: ClassVar[bool] = False
    concept: ClassVar[Concept | None] = Concept.CLASS_ACTIVATION

    def attribute(self, probe: Probe, targets: Targets) -> Attribution:
        """The maps (B, K, *grid) of the targets."""
        activations = probe.activations()
        weights = channel_weights(probe, targets, activations, _weights)
        return Attribution(weighted_sum(weights, activations.relu()), weights, activations.relu())


def _weights(probe: Probe, target: Targets, channels: Tensor) -> Tensor:
    """The weights (K, C) of one image's channels (1, C, *grid)."""
    image = probe.inputs.images
    view = probe.view
    seen = view.drawn(torch.ones_like(channels[:, :1]), image.shape[2:]) > 0

    def masked(start: int, stop: int) -> Tensor:
        large = view.drawn(channels[:, start:stop], image.shape[2:])
        lowest = large.masked_fill(~seen, torch.inf).amin(dim=tuple(range(2, large.ndim)), keepdim=True)
        mask = scale(torch.where(seen, large, lowest)).masked_fill(~seen, 1)
        return image * mask[0, :, None].to(image)

    scores = scores_of(probe, target, channels.shape[1], masked)
    differs = scores.amax(dim=0) > scores.amin(dim=0)
    return (scores.softmax(dim=0) * differs).T
