"""Which images of a batch are selected: a number, a slice, numbers, or a mask."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from torch import Tensor

from pellucid.errors import ImageIndexError, counted

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Selection: TypeAlias = "int | slice | Sequence[int] | Sequence[bool] | Tensor | npt.NDArray[np.integer[Any] | np.bool_]"
"""Which images of an explanation: a number, a slice, numbers, or a mask with one flag for each image."""


def rows_of(images: Selection, count: int) -> slice | list[int]:
    """The numbers of the selected images of ``count``; a slice where they follow one another, which copies nothing."""
    if isinstance(images, slice):
        # A tensor takes no negative step.
        return images if images.step is None or images.step > 0 else list(range(count))[images]
    chosen: Any = images.tolist() if hasattr(images, "tolist") else images
    if not isinstance(chosen, (list, tuple)):
        number = number_of(chosen, count)
        return slice(number, number + 1)
    if chosen and all(isinstance(flag, bool) for flag in chosen):
        if len(chosen) != count:
            raise ImageIndexError(f"a mask of {len(chosen)} flags was given; there are {counted(count, 'image')}")
        return [number for number, flag in enumerate(chosen) if flag]
    return [number_of(one, count) for one in chosen]


def number_of(image: Any, count: int) -> int:
    """An image's number, from 0; negative ones count from the end."""
    if isinstance(image, bool) or not hasattr(image, "__index__"):
        raise ImageIndexError(
            f"image {image!r} was asked for; give a number, a slice, a list of numbers or a mask with one flag an image"
        )
    number = operator.index(image)
    if not -count <= number < count:
        raise ImageIndexError(f"image {number} was asked for; there are {counted(count, 'image')}, from 0")
    return number % count
