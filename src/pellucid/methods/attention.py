"""Attention of the class token (Caron et al. 2021, arXiv:2104.14294): where the last block's class token looks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pellucid.core.attribution import Attribution
from pellucid.core.catalogue import register_method
from pellucid.core.method import Method
from pellucid.core.probe import Probe
from pellucid.core.target import Targets


@register_method("attention")
@dataclass(frozen=True)
class Attention(Method):
    """The last block's attention alone, from the token that the score is read off to the patches.

    With A_L (heads, T, T) the attention of the last block::

        map = mean over the heads of A_L's row of the class token

    Of several tokens that the score is read off, the mean of their rows; of a network without any, the mean of all
    patches' rows. The map is (B, 1, *grid), not negative. It does not depend on the class: every class gets the same.

    When to use it: to see what the last block gathers. What the blocks before it gathered, rollout adds.

    >>> import timm, torch, pellucid
    >>> vit = timm.create_model("vit_tiny_patch16_224", img_size=64, num_classes=5)
    >>> pellucid.explain(vit, torch.randn(1, 3, 64, 64), method="attention").attributions.shape
    torch.Size([1, 1, 4, 4])
    """

    uses_layers: ClassVar[bool] = False
    uses_gradients: ClassVar[bool] = False
    uses_attention: ClassVar[bool] = True
    class_specific: ClassVar[bool] = False

    def attribute(self, probe: Probe, targets: Targets) -> Attribution:  # noqa: ARG002  # class-agnostic
        """The map (B, 1, *grid), whatever the target."""
        last = probe.fold_attention(lambda _before, attention: attention.mean(dim=1))
        tokens = probe.token_grid()
        return Attribution(tokens.spatial(tokens.reading(last) @ last)[:, None])
