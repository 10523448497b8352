"""Find the class scores in a model's output, whatever its type."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from pellucid.errors import OutputError

_NAMES = ("logits", "out", "output", "scores", "predictions")


def raw_logits(output: Any, images: int) -> Tensor:
    """The class scores (B, C) of a model's output: a tensor, dict, tuple or dataclass-like ModelOutput.

    Tensors named logits, out, output, scores or predictions are preferred. Among these, else among all, the order is:
    the first (B, C); a tensor (B,), one logit per image; a map (B, C, H, W) or (B, C, D, H, W), as segmentation
    networks return. If a single image's axes were squeezed away, () is its one logit and (C,) its classes. Half
    precision is returned as float32.
    """
    found = list(_tensors(output))
    fitting = _fitting(list(_named(output)), images) or _fitting(found, images)
    if not fitting:
        shapes = ", ".join(str(tuple(t.shape)) for t in found) or type(output).__name__
        raise OutputError(
            f"class scores of shape (B, C) or a map of them (B, C, *space), here with B = {images}, were expected "
            f"from the model, got {shapes}: wrap the model so that it returns them"
        )
    logits = fitting[0]
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def _fitting(tensors: list[Tensor], images: int) -> list[Tensor]:
    """The tensors of the first shape in that order that occurs among them."""
    lists = [t.reshape(images, -1) for t in tensors if t.ndim == 1 and (images == 1 or len(t) == images)]
    maps = [t for t in tensors if t.ndim in (4, 5) and len(t) == images and t.numel()]
    single = [t.reshape(1, 1) for t in tensors if t.ndim == 0 and images == 1]
    return [t for t in tensors if t.ndim == 2 and len(t) == images] or lists or maps or single


def _named(output: Any) -> Iterator[Tensor]:
    """The floating-point tensors of an output whose names are those of class scores."""
    fields = (
        [output[name] for name in _NAMES if name in output] if isinstance(output, Mapping) else _named_fields(output)
    )
    for item in fields:
        yield from _tensors(item)


def _tensors(output: Any) -> Iterator[Tensor]:
    """The floating-point tensors of an output."""
    if isinstance(output, Tensor):
        if output.is_floating_point():
            yield output
    elif isinstance(output, Mapping):
        for item in output.values():
            yield from _tensors(item)
    elif isinstance(output, (tuple, list)):
        for item in output:
            yield from _tensors(item)


def _named_fields(output: Any) -> list[Any]:
    """The fields of a named tuple whose names are those of class scores."""
    fields = getattr(output, "_fields", ())
    return [getattr(output, name) for name in _NAMES if name in fields]
