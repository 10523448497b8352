"""Counts how often each method runs a network: the cost that the documentation states."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

import pellucid
from pellucid import phantom

COUNTED = (
    "for one image and one class, with the default options, counted on a network of `pellucid.phantom` "
    "whose layer has 96 channels"
)
"""What the counts refer to."""


@dataclass
class Cost:
    """Passes through a network: ``forward`` to its scores, ``whole`` of these from the image on, and ``backward``."""

    forward: int = 0
    whole: int = 0
    backward: int = 0

    @property
    def short(self) -> str:
        """The forward and the backward passes, for a table."""
        return f"{self.forward} + {self.backward}"

    @property
    def text(self) -> str:
        """The same in words."""
        from_the_layer = self.forward - self.whole
        partial = f" ({from_the_layer} of them from the layer on)" if from_the_layer > 0 else ""
        return f"{_passes(self.forward, 'forward')}{partial}, {_passes(self.backward, 'backward')}"


def _passes(count: int, direction: str) -> str:
    return f"{count or 'no'} {direction} {'pass' if count == 1 else 'passes'}"


@cache
def cost(name: str, attention: bool) -> Cost:
    """Count the passes for one image and one class; ``attention`` selects a network that has attention."""
    model, image = _network(attention)
    with one_thread():
        pellucid.explain(model, image, method=name)  # the first call profiles the network
        with _counted(model) as counted:
            pellucid.explain(model, image, method=name)
    return counted


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch on one thread: small networks are slower on several, and far slower beside other work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@cache
def _network(attention: bool) -> tuple[nn.Module, Tensor]:
    """A network and an image (1, 1, H, W) for it."""
    model, side = (phantom.vit(), 128) if attention else (phantom.cnn(), 32)
    image = pellucid.model_info(model).preprocessing.normalise(torch.full((1, 1, side, side), 0.5))
    image[..., : side // 2] += 0.5  # a constant image gives constant maps
    return model, image


@contextmanager
def _counted(model: nn.Module) -> Iterator[Cost]:
    """Count images at the first convolution and at the last linear layer, and gradients at the latter."""
    made = Cost()

    def entered(_module: nn.Module, given: tuple[Tensor, ...]) -> None:
        made.whole += len(given[0])

    def left(_module: nn.Module, _given: Any, scores: Tensor) -> None:
        made.forward += len(scores)
        if scores.requires_grad:
            scores.register_hook(_adding(made, len(scores)))

    modules = list(model.modules())
    first = next(module for module in modules if isinstance(module, nn.Conv2d))
    last = next(module for module in reversed(modules) if isinstance(module, nn.Linear))
    handles = [first.register_forward_pre_hook(entered), last.register_forward_hook(left)]
    try:
        yield made
    finally:
        for handle in handles:
            handle.remove()


def _adding(made: Cost, count: int) -> Callable[[Tensor], None]:
    def returned(_gradient: Tensor) -> None:
        made.backward += count

    return returned
