"""Where findings are, as callers give it: masks of several forms become one tensor."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pellucid.core import rle
from pellucid.core.dense import dense
from pellucid.errors import OptionError, ShapeError

Masks = Tensor | npt.NDArray[Any] | Sequence[Any]
"""Masks (B, *space), (B, 1, *space) or (B, K, *space), or a list with one entry an image: see ``masks_of``."""
_FARTHEST = 2.0**53
"""Corners are nearer than this, in pixels."""
_FORMS = "a tensor or array, {'size': …, 'counts': …}, {'boxes': …} or None"


def masks_of(given: Masks | None, count: int, columns: int, space: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Masks (B, K, *space) bool, and which images and classes have one, (B, K) bool.

    ``given`` is a tensor or array of bool or of 0 and 1, of shape (B, *space), (B, 1, *space) or (B, K, *space); or a
    list with one entry an image: None for one without a mask, a tensor or array (*space), (1, *space) or (K, *space),
    COCO's run-length encoding (``core.rle``), or ``{"boxes": [(x0, y0, x1, y1), …]}``. A box is in pixels of the
    model's input and holds the pixels whose centres lie in it: (2, 1, 4, 2) is those of columns 2 and 3 in row 1. Of a
    volume boxes are (x0, y0, z0, x1, y1, z1). No boxes are an empty mask.

    >>> masks, has_mask = masks_of([{"boxes": [(2, 1, 4, 2)]}, None], count=2, columns=1, space=(2, 4))
    >>> masks[0, 0].int(), has_mask.flatten()
    (tensor([[0, 0, 0, 0],
            [0, 0, 1, 1]], dtype=torch.int32), tensor([ True, False]))

    Raises:
        ShapeError: a mask has another size than the images, or values other than 0 and 1.
        OptionError: an entry has none of these forms, or its counts or boxes are not possible.
    """
    if given is None:
        return torch.zeros(count, columns, *space, dtype=torch.bool), torch.zeros(count, columns, dtype=torch.bool)
    if isinstance(given, (Tensor, np.ndarray)):
        masks = flags_of(given)
        masks = masks[:, None] if masks.ndim == len(space) + 1 else masks
        _check_shape(masks, (count, columns, *space), "(images, classes, *space)")
        return masks.expand(count, columns, *space), torch.ones(count, columns, dtype=torch.bool)
    if isinstance(given, (str, bytes)) or not isinstance(given, Sequence):
        raise OptionError(
            f"masks were given as {type(given).__name__}; a tensor, an array or a list with one entry an image was "
            "expected"
        )
    if len(given) != count:
        raise ShapeError(f"masks of {len(given)} images were given; there are {count}: give None for one without")
    masks = torch.stack([_entry(one, columns, space) for one in given])
    has_mask = torch.tensor([[one is not None] * columns for one in given], dtype=torch.bool)
    return masks, has_mask.reshape(count, columns)


def any_finding(given: Masks, space: Sequence[int]) -> Tensor:
    """Where an image has a finding of any class, (B, *space) bool, of masks in any of the forms of ``masks_of``."""
    if isinstance(given, (Tensor, np.ndarray)):
        return masks_of(given, len(given), _columns(given, space), space)[0].any(1)
    entries = [given] if isinstance(given, (str, bytes, Mapping)) or not isinstance(given, Sequence) else given
    found = [masks_of([one], 1, _columns(one, space, 1), space)[0].any(1) for one in entries]
    return torch.cat(found) if found else torch.zeros(0, *space, dtype=torch.bool)


def _columns(one: Any, space: Sequence[int], batch: int = 2) -> int:
    """The number of classes of a tensor or array of masks, whose other axes are one less than ``batch``."""
    return int(one.shape[batch - 1]) if getattr(one, "ndim", 0) == len(space) + batch else 1


def flags_of(given: Tensor | npt.NDArray[Any]) -> Tensor:
    """A mask of bool, or of 0 and 1, as bool on the CPU.

    Raises:
        ShapeError: it has other values, or none that can be read.
    """
    array = _array(dense(given, "masks").detach().cpu()) if isinstance(given, Tensor) else given
    if array.dtype.kind not in "buif":
        raise ShapeError(f"a mask of {array.dtype} was given; bool or 0 and 1 were expected")
    flags = np.asarray(array != 0)
    if array.dtype.kind != "b" and not bool(((array == 0) | (array == 1)).all()):
        other = array[(array != 0) & (array != 1)].flat[0]
        raise ShapeError(
            f"a mask with the value {other.item():g} was given; bool or 0 and 1 were expected: of labels or "
            "probabilities write masks == label or masks > threshold"
        )
    return torch.from_numpy(np.ascontiguousarray(flags).reshape(array.shape))


def _array(given: Tensor) -> npt.NDArray[Any]:
    found: npt.NDArray[Any] = (given.float() if given.dtype == torch.bfloat16 else given).numpy()
    return found


def _entry(one: Any, columns: int, space: Sequence[int]) -> Tensor:
    """One image's masks (K, *space)."""
    shape = (columns, *space)
    if one is None:
        return torch.zeros(shape, dtype=torch.bool)
    if isinstance(one, (Tensor, np.ndarray)):
        mask = flags_of(one)
        mask = mask[None] if mask.ndim == len(space) else mask
        _check_shape(mask, shape, "(classes, *space)")
        return mask.expand(shape)
    if isinstance(one, Mapping) and set(one) == rle.KEYS:
        return rle.decoded(one, space).expand(shape)
    if isinstance(one, Mapping) and set(one) == {"boxes"}:
        return _of_boxes(one["boxes"], space).expand(shape)
    found = f"a mapping of {sorted(map(str, one))[:5]}" if isinstance(one, Mapping) else type(one).__name__
    raise OptionError(f"a mask was given as {found}; {_FORMS} was expected")


def _check_shape(masks: Tensor, shape: tuple[int, ...], axes: str) -> None:
    """Raise unless masks have a shape, or could be repeated along the axis of classes."""
    at = 1 if axes.startswith("(images") else 0
    repeated = tuple(1 if axis == at else side for axis, side in enumerate(shape))
    if tuple(masks.shape) not in (shape, repeated):
        raise ShapeError(
            f"masks {tuple(masks.shape)} were given; {shape} {axes} were expected: masks are of the size of the "
            "model's input"
        )


def _of_boxes(boxes: Any, space: Sequence[int]) -> Tensor:
    """The mask (*space) of the pixels whose centres lie in one of the boxes."""
    mask = torch.zeros(tuple(space), dtype=torch.bool)
    for box in boxes.tolist() if hasattr(boxes, "tolist") else _listed(boxes):
        numbers = _numbers(box, len(space))
        corners = zip(numbers[: len(space)][::-1], numbers[len(space) :][::-1], space, strict=True)
        chosen = tuple(slice(*(_first(end, side) for end in (low, high))) for low, high, side in corners)
        if not mask[chosen].numel():
            raise OptionError(
                f"{_shown(box)} was given; no pixel of an image {tuple(space)} has its centre in it: boxes are "
                "(x0, y0, x1, y1) in pixels of the model's input"
            )
        mask[chosen] = True
    return mask


def _listed(boxes: Any) -> Sequence[Any]:
    if isinstance(boxes, (str, bytes)) or not isinstance(boxes, Sequence):
        raise OptionError(f"boxes were given as {type(boxes).__name__}; a list of (x0, y0, x1, y1) was expected")
    return boxes


def _numbers(box: Any, axes: int) -> list[float]:
    """A box's lower corner, then its upper corner, x first."""
    values = box.tolist() if hasattr(box, "tolist") else box
    known = isinstance(values, (list, tuple)) and len(values) == 2 * axes
    plain = known and all(isinstance(one, (int, float)) and abs(one) < _FARTHEST for one in values)
    if not plain or any(low >= high for low, high in zip(values[:axes], values[axes:], strict=True)):
        names = "xyz"[:axes]
        wanted = ", ".join(f"{name}{end}" for end in (0, 1) for name in names)
        raise OptionError(
            f"{_shown(box)} was given; ({wanted}) was expected, finite numbers with "
            f"{' and '.join(f'{name}0 < {name}1' for name in names)}"
        )
    return [float(one) for one in values]


def _first(end: float, side: int) -> int:
    """The first pixel along an axis whose centre is not below ``end``, from 0 to ``side``."""
    return int(min(max(math.ceil(end - 0.5), 0), side))


def _shown(box: Any) -> str:
    try:
        text = repr(box)
    except ValueError:  # Python writes no number of more than 4,300 digits
        return "a box of numbers too long to show"
    return f"the box {text}" if len(text) <= 60 else f"the box {text[:60]}…"
