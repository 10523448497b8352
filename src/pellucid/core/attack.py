"""The base class of attacks: frozen options, and one search for changed images within a budget."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol, TypeVar

import torch
from torch import Tensor

from pellucid.core.answer import Answer
from pellucid.core.numbers import is_number, is_seed, is_whole
from pellucid.core.provenance import described
from pellucid.core.registry import Registry, options
from pellucid.errors import OptionError


@dataclass(frozen=True, eq=False)
class Outputs:
    """What a network and its map say of N changed images, with the graph back to them where a gradient is asked for.

    ``rows`` (N,) are the images' numbers, ``logits`` (N, C), and ``maps()`` the maps (N, *space) of the labels at the
    images' size: unscaled, with their sign.
    """

    rows: Tensor
    logits: Tensor
    maps: Callable[[], Tensor]


Objective = Callable[[Outputs], Tensor]
"""What an attack maximises: one value for each of N images, (N,)."""


@dataclass(frozen=True, eq=False)
class Slope:
    """An objective's values (N,), its gradients at the pixels (N, C, *space), and the logits (N, C) of the pass."""

    values: Tensor
    gradients: Tensor
    logits: Tensor


class Subject(Protocol):
    """B images and the network that an attack can ask about changed ones.

    ``rows`` (N,) int64 are the numbers of the images of which N others are changed copies. A pass holds as many images
    as the runtime allows.
    """

    @property
    def pixels(self) -> Tensor:
        """The images as they are, (B, C, *space), in the unit of the budget: pixels before normalisation."""

    @property
    def low(self) -> Tensor:
        """The lowest allowed value, of a shape that fits the pixels'."""

    @property
    def high(self) -> Tensor:
        """The highest allowed value, of a shape that fits the pixels'."""

    @property
    def widest(self) -> float:
        """The largest change of a pixel that there can be; infinite where the unit of the budget is not known."""

    @property
    def answer(self) -> Answer:
        """What the network answers for the images as they are, and the loss of it."""

    def logits(self, pixels: Tensor, rows: Tensor) -> Tensor:
        """The logits (N, C) of changed images, without gradients."""

    def outputs(self, pixels: Tensor, rows: Tensor) -> Outputs:
        """What the network and its maps say of changed images, without gradients."""

    def slope(self, pixels: Tensor, rows: Tensor, objective: Objective, beta: float | None = None) -> Slope:
        """An objective's values and gradients at changed images.

        ``beta``: each ReLU is a softplus log(1 + exp(βx)) / β in this pass, so that maps made of gradients have
        derivatives of their own (Dombrowski et al. 2019, arXiv:1906.07983). None: the network as it is.

        Raises:
            OptionError: no gradient of the maps reaches the images.
            GradientError: no gradient of the scores does.
        """


class Attack(ABC):
    """An attack: images that are changed within a budget, to move an answer or its map.

    Subclasses are frozen dataclasses of the options. ``moves_map``: whether it is about a map, and needs a method.
    ``holds_answer``: whether an image whose answer moves never counts, so that none has moved.
    """

    name: ClassVar[str] = ""
    moves_map: ClassVar[bool] = False
    holds_answer: ClassVar[bool] = False

    @abstractmethod
    def search(self, subject: Subject) -> Tensor:
        """The changed images (B, C, *space), within the budget and the range of the subject."""


ATTACKS: Registry[Attack] = Registry("pellucid.attacks", "attack")
A = TypeVar("A", bound=type[Attack])


def register_attack(name: str) -> Callable[[A], A]:
    """Register an attack under ``name``: the decorator of an attack's class.

    Raises:
        OptionError: another class has this name, or the class is no frozen dataclass.
    """
    return ATTACKS.register(name)


def settings(attack: Attack) -> dict[str, str | int | float | bool | None]:
    """An attack's options as plain values."""
    found = {key: getattr(attack, key) for key in options(type(attack))}
    return {
        key: value if isinstance(value, (str, int, float, bool, type(None))) else described(value)
        for key, value in found.items()
    }


def check_budget(epsilon: float, steps: int = 1, step_size: float | None = None, seed: int = 0) -> None:
    """Raise unless these are the options of a budget: ``epsilon`` and ``step_size`` from 0, at least one step."""
    size = 0.0 if step_size is None else step_size
    if not all(is_number(value) and value >= 0 for value in (epsilon, size)) or not size < math.inf:
        what, found = ("epsilon", epsilon) if step_size is None else ("epsilon and step_size", (epsilon, step_size))
        raise OptionError(f"{what} must be >= 0, got {found}: of grey levels from 0 to 255 write 8 / 255")
    if not is_whole(steps) or steps < 1:
        raise OptionError(f"steps must be >= 1, got {steps}")
    if not is_seed(seed):
        raise OptionError(f"seed must be a whole number >= 0, got {seed!r}")


def loss_of(subject: Subject) -> Objective:
    """The loss of the answers, as an objective."""
    return lambda found: subject.answer.loss(found.logits, found.rows)


def no_maps() -> Tensor:
    """The maps of a subject without a method: an error."""
    raise OptionError("an attack asked for maps, and no method was given to make them: give method='gradcam'")


def all_rows(subject: Subject) -> Tensor:
    """The numbers of all images, (B,)."""
    return torch.arange(len(subject.pixels), device=subject.pixels.device)
