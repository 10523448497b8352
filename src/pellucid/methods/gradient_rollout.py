"""Gradient rollout (Chefer et al. 2021, arXiv:2103.15679): multiply the attention that speaks for a class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from pellucid.core.attribution import Attribution
from pellucid.core.catalogue import register_method
from pellucid.core.method import Method
from pellucid.core.probe import Probe
from pellucid.core.target import Targets


@register_method("gradient_rollout")
@dataclass(frozen=True)
class GradientRollout(Method):
    """Gradient-weighted attention rollout: of each attention, what raises the class's score.

    With A_l (T, T) the attention of block l, a head each, and z the class's logit::

        Ā_l = mean over the heads of relu( ∂z/∂A_l ⊙ A_l )        R = (I + Ā_L) · … · (I + Ā_2) · (I + Ā_1)

    The map is the row of R − I of the tokens that the score is read off (the class token, and a distillation token;
    the mean of all patches' rows of a network without), over the patches: (B, K, *grid), not negative. It costs one
    backward pass a class; one block's attention is held at a time. Of a network in stages, the blocks of the last
    grid count.

    When to use it: on a vision transformer, to see which patches the class's evidence came from.

    >>> import timm, torch, pellucid
    >>> vit = timm.create_model("vit_tiny_patch16_224", img_size=64, num_classes=5)
    >>> images = torch.randn(1, 3, 64, 64)
    >>> pellucid.explain(vit, images, method="gradient_rollout", targets=[2]).attributions.shape
    torch.Size([1, 1, 4, 4])
    """

    uses_layers: ClassVar[bool] = False
    uses_attention: ClassVar[bool] = True

    def attribute(self, probe: Probe, targets: Targets) -> Attribution:
        """The maps (B, K, *grid) of the targets."""
        tokens = probe.token_grid()

        def step(added: Tensor | None, attention: Tensor, gradient: Tensor) -> Tensor:
            """One more block, the last first: its rows times the row of those behind it, of which I's part is left out.

            That part is constant over the patches of a network without a class token, and would hide the rest.
            """
            read = tokens.reading(attention)
            row = read.expand(len(attention), -1) if added is None else read + added
            more = (row[:, None] @ (attention * gradient).relu_().mean(dim=1)).squeeze(1)
            return more if added is None else added + more

        return Attribution(tokens.spatial(probe.fold_attention(step, targets, "backward")))
