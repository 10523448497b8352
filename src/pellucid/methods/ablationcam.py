"""Ablation-CAM (Desai & Ramaswamy 2020, doi:10.1109/WACV45572.2020.9093360): weigh channels by what the score loses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pellucid.core.attribution import Attribution
from pellucid.core.catalogue import register_method
from pellucid.core.concept import Concept
from pellucid.core.inputs import chunks
from pellucid.core.method import Method
from pellucid.core.perturbation import channel_weights
from pellucid.core.probe import Probe
from pellucid.core.space import weighted_sum
from pellucid.core.target import Targets


@register_method("ablationcam")
@dataclass(frozen=True)
class AblationCAM(Method):
    """Ablation-CAM: no gradient; the part of the network behind the layer is run once a channel.

    With A (C, *grid) the layer's output and z the class's logit::

        w_k = z(A) − z(A with channel k set to 0)        map = relu( Σ_k w_k A_k )

    The paper divides w by z(A), which is one factor for the whole map and would turn it over where z(A) < 0: left out.
    Class and register tokens stay as they are. The map is (B, K, *grid), not negative. What comes before the layer is
    computed once, where the network allows it; ``Runtime.batch_size`` variants go in one pass.

    When to use it: where gradients saturate. Where only pooling and a linear layer follow, it equals Grad-CAM times the
    channel's mean.

    >>> import torch, pellucid
    >>> from torchvision.models import resnet18
    >>> pellucid.explain(resnet18(), torch.randn(1, 3, 64, 64), method="ablationcam").attributions.shape
    torch.Size([1, 1, 2, 2])
    """

    uses_gradients: ClassVar[bool] = False
    concept: ClassVar[Concept | None] = Concept.CLASS_ACTIVATION

    def attribute(self, probe: Probe, targets: Targets) -> Attribution:
        """The maps (B, K, *grid) of the targets."""
        activations = probe.activations()
        weights = channel_weights(probe, targets, activations, _weights)
        return Attribution(weighted_sum(weights, activations).relu(), weights, activations)


def _weights(probe: Probe, target: Targets, channels: Tensor) -> Tensor:
    """The weights (K, C) of one image's channels (1, C, *grid)."""
    forward = probe.forward_from_layer()
    count = channels.shape[1]
    kept = 1 - torch.eye(count, dtype=channels.dtype, device=channels.device)
    kept = kept.reshape(count, count, *(1,) * (channels.ndim - 2))
    scores = [
        target.repeated(stop - start).scores(forward(channels * kept[start:stop]))
        for start, stop in chunks(count, probe.batch_size)
    ]
    return (target.scores(forward(channels)) - torch.cat(scores)).T
