"""Which calls of functions may move the positions of a map (1, 4, 8, 8)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.models.discovery.dataflow import MOVED, TURNED, Dataflow

Function = Callable[[Tensor], Any]
MOVING: dict[str, Function] = {
    "rolled": lambda maps: maps.roll(3, 2),
    "rolled on two axes": lambda maps: torch.roll(maps, (0, -3), (1, -1)),
    "rolled as a whole": lambda maps: torch.roll(maps, 9),
    "padded before": lambda maps: F.pad(maps, (3, 0)),
    "padded unevenly below": lambda maps: F.pad(maps, (1, 1, 0, 4)),
    "cut off": lambda maps: F.pad(maps, (0, 0, -3, -3)),
    "cropped": lambda maps: maps[..., 3:],
    "transposed": lambda maps: maps.transpose(2, 3),
    "permuted": lambda maps: torch.permute(maps, (0, 1, 3, 2)) + 1,
    "an attribute": lambda maps: maps.mT,
    "one part only": lambda maps: maps + maps.swapaxes(2, 3),
    "sampled": lambda maps: F.grid_sample(maps, torch.zeros(1, 8, 8, 2), align_corners=False),
}
KEEPING: dict[str, Function] = {
    "rolled by a margin": lambda maps: maps.roll((2, 7), (2, 3)),
    "channels rolled": lambda maps: maps.roll(2, 1),
    "padded evenly": lambda maps: F.pad(maps, (3, 3, 3, 3)),
    "padded by a margin": lambda maps: F.pad(maps, (0, 2, 0, 1)),
    "transposed and back": lambda maps: maps.transpose(2, 3).tanh().permute(0, 1, 3, 2),
    "channels last": lambda maps: maps.permute(0, 2, 3, 1),
    "channels last in memory": lambda maps: maps.contiguous(memory_format=torch.channels_last),
    "a product with a transposed one": lambda maps: maps @ maps.mT,
    "every second cell": lambda maps: maps[..., ::2],
    "a row of cells": lambda maps: maps.mean(2, keepdim=True).mT,
    "features": lambda maps: maps.flatten(2).transpose(1, 2),
}


def marks_of(function: Function) -> frozenset[int]:
    image = torch.rand(1, 1, 8, 8)
    flow = Dataflow(image, lambda given, _weight, _is_image: given)
    with flow:
        result = function(F.conv2d(image, torch.rand(8, 1, 3, 3), padding=1))
    return flow.of(result)


@pytest.mark.parametrize("name", MOVING)
def test_what_moves_a_map_is_marked(name: str) -> None:
    assert marks_of(MOVING[name]) & MOVED


@pytest.mark.parametrize("name", KEEPING)
def test_what_keeps_its_cells_is_not(name: str) -> None:
    assert not marks_of(KEEPING[name]) & MOVED


def test_an_image_may_be_moved_as_its_views_are_measured() -> None:
    image = torch.rand(1, 1, 8, 8)
    flow = Dataflow(image, lambda given, _weight, _is_image: given)
    with flow:
        results = [image.mT, image.roll(4, 2), F.pad(image, (4, 0)), MOVING["sampled"](image)]
    assert all(flow.of(each) == {0} for each in results)
    assert marks_of(MOVING["transposed"]) >= TURNED
