"""LeGrad (Bousselham et al. 2024, arXiv:2404.03214): how the score read off each block hangs on its attention."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from pellucid.core.attribution import Attribution
from pellucid.core.catalogue import register_method
from pellucid.core.method import Method
from pellucid.core.probe import Probe
from pellucid.core.target import Targets


@register_method("legrad")
@dataclass(frozen=True)
class LeGrad(Method):
    """LeGrad: the gradient of each block's own score at that block's attention, summed over the blocks.

    With A_l (heads, T, T) the attention of block l, and z_l the class's logit if the blocks after l passed on what
    they get, so that the network's last norm and classifier read the tokens off block l::

        E_l = mean over the heads and the queries of relu( ∂z_l/∂A_l )        map = Σ_l E_l

    (The paper divides by the number of blocks.) Attention that pools the tokens into one at the end, as a class token's
    own blocks or a latent query do, stays as it is: z_l is read off through it, and it adds an E of its own. The map
    is over the patches, (B, K, *grid), not negative. Of a network in stages, the blocks of the last grid count.
    It costs about three passes, and a backward pass through one block for each block and class.

    When to use it: on a vision transformer, for a map that shows early blocks' evidence, too.

    >>> import timm, torch, pellucid
    >>> vit = timm.create_model("vit_tiny_patch16_224", img_size=64, num_classes=5)
    >>> pellucid.explain(vit, torch.randn(1, 3, 64, 64), method="legrad").attributions.shape
    torch.Size([1, 1, 4, 4])
    """

    uses_layers: ClassVar[bool] = False
    uses_attention: ClassVar[bool] = True

    def attribute(self, probe: Probe, targets: Targets) -> Attribution:
        """The maps (B, K, *grid) of the targets."""

        def step(before: Tensor | None, _attention: Tensor, gradient: Tensor) -> Tensor:
            own = gradient.relu().mean(dim=(1, 2))
            return own if before is None else before + own

        return Attribution(probe.token_grid().spatial(probe.fold_attention(step, targets, "early_exit")))
