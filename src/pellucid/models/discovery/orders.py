"""Read the token order that some networks state themselves: which token is at which cell of the grid."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import torch
from torch import nn


def token_orders(network: nn.Module) -> dict[int, tuple[int, ...]]:
    """The token at each cell, row by row, keyed by the number of tokens; empty if tokens are in row-major order.

    Hiera (timm's, transformers') keeps the tokens of a pooling window apart until they are pooled. Both have a
    ``reroll`` that restores the spatial order for a step of its ``schedule``, which holds each step's grid.
    """
    orders: dict[int, tuple[int, ...]] = {}
    for module in network.modules():
        reroll: Any = getattr(module, "reroll", None)
        schedule: Any = getattr(reroll, "schedule", getattr(module, "schedule", None))
        if callable(reroll) and isinstance(schedule, dict):
            with suppress(Exception):  # of another network's functions of these names
                orders.update(_of_schedule(reroll, schedule))
    return orders


def _of_schedule(reroll: Any, schedule: Mapping[Any, Any]) -> Iterator[tuple[int, tuple[int, ...]]]:
    for step, (_, grid) in schedule.items():
        count = math.prod(grid)
        cells = reroll(torch.arange(count).reshape(1, count, 1), step)
        yield count, tuple(cells.flatten().tolist())
