"""The base class of changes of images: frozen options, a strength that grows, and one function of pixels."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar, TypeVar

import torch
from torch import Tensor

from pellucid.core.default_device import on_cpu_by_default
from pellucid.core.registry import Registry
from pellucid.errors import OptionError, ShapeError


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
        if not 0 <= self.strength <= self.strongest or math.isinf(self.strength):
            most = "" if math.isinf(self.strongest) else f" and at most {self.strongest:g}"
            raise OptionError(
                f"strength {self.strength:g} of change {self.name!r} was asked for; it is {self.unit}: give 0 or "
                f"more{most}"
            )

    @on_cpu_by_default
    def changed(self, pixels: Tensor, seeds: Sequence[int]) -> Tensor:
        """The changed images of pixels (B, C, *space) in [0, 1], of the same shape and in the same range.

        ``seeds`` has one for each image: its random numbers do not depend on the images beside it.

        Raises:
            ShapeError: the pixels are no images or volumes, or there is not one seed for each.
        """
        if pixels.ndim not in (4, 5) or len(seeds) != len(pixels):
            raise ShapeError(
                f"pixels {tuple(pixels.shape)} and {len(seeds)} seeds were given; (B, C, H, W) or (B, C, D, H, W), and "
                "a seed for each image, were expected"
            )
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


CHANGES: Registry[Change] = Registry("pellucid.changes", "change")
C = TypeVar("C", bound=type[Change])


def register_change(name: str) -> Callable[[C], C]:
    """Register a change under ``name``: the decorator of a change's class.

    Raises:
        OptionError: another class has this name, or the class is no frozen dataclass.
    """
    return CHANGES.register(name)
