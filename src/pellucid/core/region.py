"""``Region``: a class within a region, for networks that return a map of logits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.core.class_names import class_number
from pellucid.errors import TargetError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class Region:
    """The target for a network that outputs a map of logits (B, C, *space): one class, within a region.

    Its score is the mean of the class's logit over ``mask``, a bool tensor or array (*space) or (B, *space) at the
    input's or the map's size (resized to the map's by nearest neighbour). None stands for the positions where the
    network predicts the class in the unchanged image: its logit is the largest, or above 0 for sigmoid heads and for a
    single class. Where there is no such position, the explanation's map is empty. ``class_``: a number or a name.

    Raises:
        TargetError: the mask is not of dtype bool, or the class is neither a number nor a name.
    """

    class_: int | str
    mask: Tensor | npt.NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        """Refuse values that are no mask or no class."""
        if not isinstance(self.class_, str):
            class_number(self.class_)
        kind = getattr(self.mask, "dtype", type(self.mask).__name__)
        if self.mask is not None and str(kind) not in ("torch.bool", "bool"):
            raise TargetError(f"a Region's mask must be a bool tensor or array, got {kind}: write mask > 0, say")

    def fitted(self, images: int, size: Sequence[int]) -> Region:
        """The same region, whose mask has an axis for the images; raises where it does not fit them."""
        if self.mask is None:
            return self
        mask, rank = _tensor(self.mask), len(size)
        if mask.ndim not in (rank, rank + 1) or (mask.ndim > rank and len(mask) != images):
            raise TargetError(
                f"a Region's mask must be of shape {tuple(size)}, or {(images, *size)} with one for each image, "
                f"got {tuple(mask.shape)}"
            )
        return replace(self, mask=mask.expand(images, *mask.shape[-rank:]))

    def changed(self, change: Callable[[Tensor], Tensor]) -> Region:
        """The same region with another mask (B, *space), where it has one."""
        return self if self.mask is None else replace(self, mask=change(_tensor(self.mask)))

    def positions(self, logits: Tensor, size: tuple[int, ...] | None) -> Tensor:
        """The mask's positions on the map of logits (B, C, *space): (B, *space) bool. ``size`` is the input's."""
        # A copy: a tensor made under inference_mode cannot be part of a graph.
        return _resized(_tensor(self.mask).to(logits.device, copy=True), logits, size)


def where_predicted(logits: Tensor, index: int, head: str) -> Tensor:
    """The positions (B, *space) at which the network predicts a class."""
    if head == "sigmoid" or logits.shape[1] == 1:
        return logits[:, index] > 0
    return logits.argmax(dim=1) == index


def mean_at(logits: Tensor, positions: Tensor) -> Tensor:
    """The mean of logits (B, K, *space) over positions (B, *space); without any, 0 with zero gradients."""
    kept = torch.where(positions[:, None], logits, torch.zeros_like(logits)).flatten(2).sum(dim=2)
    return kept / positions.flatten(1).sum(dim=1, keepdim=True).clamp(min=1)


def _resized(mask: Tensor, logits: Tensor, given: tuple[int, ...] | None) -> Tensor:
    """A mask (*space) or (B, *space), resized to the map of logits: (B, *space)."""
    size = tuple(logits.shape[2:])
    mask = mask.expand(len(logits), *mask.shape) if mask.ndim == len(size) else mask
    if tuple(mask.shape[1:]) == size:
        return mask
    if given is None or tuple(mask.shape[1:]) != given:
        sizes = " or ".join(str(one) for one in dict.fromkeys(filter(None, (given, size))))
        raise TargetError(f"a Region's mask must have the size {sizes}, got {tuple(mask.shape[1:])}")
    resized = F.interpolate(mask[:, None].float(), size, mode="nearest-exact")[:, 0] > 0
    if (mask.flatten(1).any(dim=1) & ~resized.flatten(1).any(dim=1)).any():
        raise TargetError(f"a Region's mask has no position left at the map's size {size}: give one of that size")
    return resized


def _tensor(mask: Any) -> Tensor:
    # Not as_tensor, which warns about read-only arrays.
    return mask if isinstance(mask, Tensor) else torch.tensor(mask)
