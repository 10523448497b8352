"""FullGrad (Srinivas & Fleuret 2019, arXiv:1905.00780): the input's and every bias's share of the score."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from torch import Tensor

from pellucid.core.attribution import Attribution
from pellucid.core.catalogue import method
from pellucid.core.inputs import Images, explained
from pellucid.core.method import Method
from pellucid.core.probe import Probe
from pellucid.core.space import scale, upsample
from pellucid.core.target import Targets


@method("fullgrad")
@dataclass(frozen=True)
class FullGrad(Method):
    """FullGrad: for ReLU networks the logit is exactly the sum of input × gradient and of bias × gradient.

    With x the input, b the biases of the layers (of a batch norm in use β − γ μ / √(σ² + ε)) and y their outputs::

        map = Σ_channels ψ(x ⊙ ∂z/∂x) + Σ_layers Σ_channels upsampled ψ(b ⊙ ∂z/∂y)

    ψ takes magnitudes and stretches all channels and places of one tensor to [0, 1]. The map is (B, K, *space), on the
    picture's own grid, not negative: it tells where, not for or against. ``explanation.checks["completeness_gap"]`` is
    z less the sum before ψ: 0 for a network of convolutions, linear layers, batch norms, ReLUs and poolings; for others
    it says how much of the score the map does not account for. Biases behind the last places (the final linear layer's)
    are in that sum and, having no place, not in the map; those inside torch's own MultiheadAttention are in neither.
    Costs a recorded pass and a backward one a class.

    When to use it: on ReLU networks, for a fine map that accounts for all layers.

    >>> import torch, pellucid
    >>> from torchvision.models import resnet18
    >>> pellucid.explain(resnet18(), torch.randn(1, 3, 64, 64), method="fullgrad").attributions.shape
    torch.Size([1, 1, 64, 64])
    """

    uses_layers: ClassVar[bool] = False

    def attribute(self, probe: Probe, images: Images, targets: Targets) -> Attribution:
        """The maps (B, K, *space) of the targets."""
        picture = explained(images)
        products = probe.input_gradients(images, targets) * picture[:, None]
        step = partial(_added, tuple(picture.shape[2:]))
        biases, total = probe.bias_gradients(images, targets, step)
        score = targets.scores(probe.scores(images))
        gap = score - products.flatten(2).sum(dim=2) - total
        return Attribution(_stretched(products).sum(dim=2) + biases, checks={"completeness_gap": gap})


def _added(size: tuple[int, ...], before: Tensor | None, product: Tensor) -> Tensor:
    """One more layer's share (B, 1, C, *grid), brought to the picture's size."""
    share = upsample(_stretched(product).sum(dim=2), size)
    return share if before is None else before + share


def _stretched(values: Tensor) -> Tensor:
    """Magnitudes of (B, K, C, *grid), each (C, *grid) stretched to [0, 1]."""
    return scale(values.abs().flatten(2)).view_as(values)
