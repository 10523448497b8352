"""The base class of changes of images: frozen options, a strength that grows, and one function of pixels."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar, TypeVar

import torch
from torch import Tensor

from pellucid.core.default_device import on_cpu_by_default
from pellucid.core.numbers import is_number, is_seed, shown
from pellucid.core.registry import Registry
from pellucid.errors import OptionError, ShapeError

ROUNDING = 1e-3
"""How far pixels that are read back from normalised ones may be outside [0, 1]: half precision rounds that much."""


class Change(ABC):
    """A change of images such as noise or a rotation, made of pixels in [0, 1] before normalisation.

    Subclasses are frozen dataclasses of options, one of which is ``strength``, with a default. A strength of 0 changes
    nothing. ``unit`` says what the strength is, ``levels`` are growing strengths that may occur in practice, and
    ``strongest`` is the largest there is.
    """

    name: ClassVar[str] = ""
    unit: ClassVar[str] = ""
    levels: ClassVar[tuple[float, ...]] = ()
    strongest: ClassVar[float] = math.inf

    strength = 0.0
    """How much is changed, in ``unit``: a field of each subclass."""

    def __post_init__(self) -> None:
        """Refuse a strength outside its range."""
        if not is_number(self.strength) or not 0 <= self.strength <= self.strongest or math.isinf(self.strength):
            most = "" if math.isinf(self.strongest) else f" and at most {self.strongest:g}"
            raise OptionError(
                f"strength {shown(self.strength)} of change {self.name!r} was asked for; it is {self.unit}: give 0 or "
                f"more{most}"
            )

    @on_cpu_by_default
    def changed(self, pixels: Tensor, seeds: Sequence[int]) -> Tensor:
        """The changed images of pixels (B, C, *space) in [0, 1], of the same shape and in the same range.

        ``seeds`` has one for each image: its random numbers do not depend on the images beside it.

        Raises:
            ShapeError: the pixels are no images or volumes, are outside [0, 1] or not finite, or there is not one seed
                for each.
            OptionError: a seed is no whole number from 0.
        """
        if pixels.ndim not in (4, 5) or len(seeds) != len(pixels):
            raise ShapeError(
                f"pixels {tuple(pixels.shape)} and {len(seeds)} seeds were given; (B, C, H, W) or (B, C, D, H, W), and "
                "a seed for each image, were expected"
            )
        _check_range(pixels, self.name)
        if not all(is_seed(seed) for seed in seeds):
            raise OptionError(f"seeds {list(seeds)[:5]} were given; each must be a whole number from 0")
        if self.strength == 0:
            return pixels
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        return self.applied(pixels, generators).clamp(0, 1).to(pixels)

    @abstractmethod
    def applied(self, pixels: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """The same, for a strength above 0; what leaves the range is clipped afterwards."""

    def restored(self, maps: Tensor) -> Tensor:
        """Maps (B, *space) of changed images, in the frame of the images as they were; for a strength above 0."""
        return maps

    @on_cpu_by_default
    def visible(self, space: Sequence[int]) -> Tensor:
        """Which positions (*space) bool of the image as it was the changed image shows."""
        return torch.ones(tuple(space), dtype=torch.bool)


def _check_range(pixels: Tensor, name: str) -> None:
    """Raise ``ShapeError`` unless pixels are in [0, 1]: clipped, those of a normalised image would be another's."""
    if not pixels.numel():
        return
    low, high = float(pixels.min()), float(pixels.max())
    if not (low >= -ROUNDING and high <= 1 + ROUNDING):
        raise ShapeError(
            f"pixels of {low:.4g} to {high:.4g} were given to change {name!r}; those in [0, 1] before normalisation "
            "were expected: undo the normalisation, or divide levels such as 0 to 255 by the highest"
        )


CHANGES: Registry[Change] = Registry("pellucid.changes", "change")
C = TypeVar("C", bound=type[Change])


def register_change(name: str) -> Callable[[C], C]:
    """Register a change under ``name``: the decorator of a change's class.

    Raises:
        OptionError: another class has this name, or the class is no frozen dataclass.
    """
    return CHANGES.register(name)
