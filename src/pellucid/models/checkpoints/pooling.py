"""Pooling before a head that a library's own networks do not have: fastai's, by the maximum and by the mean."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LONGEST = 3  # digits
FIRST = 2
"""The position of the first layer with weights in fastai's heads; pooling and flattening are at 0 and 1."""
HEAD = "1"
"""The position of the head in fastai's networks, ``nn.Sequential(body, head)``."""
CUT, TIMM = "0.", "0.model."
"""What the body's names begin with: of an architecture's children in a row, and of a network of timm's."""
_WITHOUT_EFFECT = (nn.Dropout, nn.Identity)


class ConcatPool(nn.Module):
    """The maximum and the mean over all positions, (B, C, H, W) → (B, 2C, 1, 1): fastai's ``AdaptiveConcatPool2d``.

    >>> ConcatPool()(torch.arange(4.0).view(1, 1, 2, 2)).flatten()
    tensor([3.0000, 1.5000])
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return the maxima, then the means."""
        return torch.cat([F.adaptive_max_pool2d(x, 1), F.adaptive_avg_pool2d(x, 1)], dim=1)


@dataclass(frozen=True)
class Pool:
    """The pooling module of a network whose output, flattened, is what the head takes; ``channels`` go into it."""

    name: str
    channels: int


def pool_before(model: nn.Module, head: str, width: int) -> Pool | None:
    """Return the pooling right before the child of a network that holds the head, which takes ``width`` features."""
    children = dict(model.named_children())
    names = list(children)
    at = names.index(head.partition(".")[0])
    before = children[names[at - 1]] if at else None
    if not isinstance(before, nn.AdaptiveAvgPool2d) or at != len(names) - 1:
        return None
    size = before.output_size
    height, columns = size if isinstance(size, tuple) else (size, size)
    cells = (height or 0) * (columns or 0)
    return Pool(names[at - 1], width // cells) if cells and width % cells == 0 else None


def timm_pool(model: nn.Module, child: str) -> str | None:
    """Return timm's pooling by the mean: the ``child`` that begins with it, or the one before; None if neither.

    The child ends the network, and holds its head.
    """
    children = dict(model.named_children())
    before = [name for name, module in children.items() if name != child and not isinstance(module, _WITHOUT_EFFECT)]
    if any(map(_averages, children[child].children())):
        return child
    return next((name for name in before[-1:] if _averages(children[name])), None)


def _averages(module: nn.Module) -> bool:
    return getattr(module, "pool_type", None) == "avg"


def in_a_row(model: nn.Module) -> nn.Sequential:
    """Return an architecture's children as fastai's body has them: one after another, whatever was between them.

    They end before the pooling, if it is a child, and the last follows, which holds the head.
    """
    children = list(model.named_children())
    pools = [at for at, (_, module) in enumerate(children) if isinstance(module, nn.AdaptiveAvgPool2d)]
    return nn.Sequential(OrderedDict([*children[: pools[-1] if pools else -1], children[-1]]))


def is_fastais(weights: Iterable[str]) -> bool:
    """Whether a head's weights are where fastai's networks have them."""
    return {name.rpartition(".")[0].rpartition(".")[0] for name in weights} == {HEAD}


def follows_pooling(weights: Mapping[str, Tensor]) -> bool:
    """Whether a head's weights are those of one row of layers that begins with pooling and flattening."""
    owners = {name.rpartition(".")[0].rpartition(".")[::2] for name in weights}
    numbers = [int(number) for _, number in owners if number.isdecimal() and len(number) <= LONGEST]
    return len({row for row, _ in owners}) == 1 and len(numbers) == len(owners) and min(numbers) == FIRST
