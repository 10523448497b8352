"""Attention rollout (Abnar & Zuidema 2020, arXiv:2005.00928): multiply the attention of all blocks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from pellucid.core.attribution import Attribution
from pellucid.core.catalogue import register_method
from pellucid.core.method import Method
from pellucid.core.probe import Probe
from pellucid.core.target import Targets
from pellucid.errors import OptionError


@register_method("rollout")
@dataclass(frozen=True)
class Rollout(Method):
    """Attention rollout; the published adapter is ``pellucid.xai.AttentionRollout``.

    With A_l (T, T) the attention of block l, its heads fused by ``head_fusion``, the lowest
    ⌊discard_ratio · T²⌋ entries set to 0 (entry (0, 0) kept), each row divided by its sum::

        Â_l = rows normalised ( discard(A_l) + I )        rollout = Â_L · … · Â_2 · Â_1

    The map is the class token's row over the patches, (B, 1, *grid); of a network whose scores are not read
    off its first token, the mean of the patches' rows. It does not depend on the class: every class gets
    the same.

    When to use it: on a vision transformer, to see where the class token attends, whatever the score. It is no evidence
    for one class rather than another.

    >>> import timm, torch, pellucid
    >>> vit = timm.create_model("vit_tiny_patch16_224", img_size=64, num_classes=5)
    >>> pellucid.explain(vit, torch.randn(1, 3, 64, 64), method="rollout").attributions.shape
    torch.Size([1, 1, 4, 4])
    """

    head_fusion: Literal["mean", "max", "min"] = "mean"
    discard_ratio: float = 0.0

    uses_layers: ClassVar[bool] = False
    uses_gradients: ClassVar[bool] = False
    uses_attention: ClassVar[bool] = True
    class_specific: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuse options outside their range."""
        if self.head_fusion not in _FUSIONS:
            raise OptionError(f"head_fusion must be one of {', '.join(_FUSIONS)}, got {self.head_fusion!r}")
        if not 0 <= self.discard_ratio < 1:
            raise OptionError(f"discard_ratio must be at least 0 and below 1, got {self.discard_ratio}")

    def attribute(self, probe: Probe, targets: Targets) -> Attribution:  # noqa: ARG002  # class-agnostic
        """The map (B, 1, *grid), whatever the target."""
        rollout = probe.fold_attention(self._step)
        tokens = probe.token_grid()
        return Attribution(tokens.spatial(tokens.reading(rollout) @ rollout)[:, None])

    def _step(self, before: Tensor | None, attention: Tensor) -> Tensor:
        """Multiply one more block (B, heads, T, T) onto the product (B, T, T) of those before."""
        fused = self._discarded(_FUSIONS[self.head_fusion](attention))
        with_skip = fused + torch.eye(fused.shape[-1], dtype=fused.dtype, device=fused.device)
        rows = with_skip / with_skip.sum(dim=-1, keepdim=True)
        return rows if before is None else rows @ before

    def _discarded(self, fused: Tensor) -> Tensor:
        """Each image's lowest entries set to 0, but for entry (0, 0)."""
        flat = fused.flatten(1)
        count = int(self.discard_ratio * flat.shape[1])
        if count == 0:
            return fused
        lowest = flat.topk(count, dim=1, largest=False, sorted=False).indices
        keep = torch.ones_like(flat).scatter(1, lowest, 0.0)
        keep[:, 0] = 1.0
        return (flat * keep).view_as(fused)


def _mean(attention: Tensor) -> Tensor:
    return attention.mean(dim=1)


def _max(attention: Tensor) -> Tensor:
    return attention.amax(dim=1)


def _min(attention: Tensor) -> Tensor:
    return attention.amin(dim=1)


_FUSIONS = {"mean": _mean, "max": _max, "min": _min}
