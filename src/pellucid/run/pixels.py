"""The pixels of a network's input before normalisation: what a budget is measured in."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from textwrap import shorten
from typing import Any

import torch
from torch import Tensor

from pellucid.core.change import ROUNDING
from pellucid.core.image import Image
from pellucid.core.numbers import is_number
from pellucid.errors import OptionError, ShapeError
from pellucid.models.preprocessing import ONLY_WHOLE, Preprocessing
from pellucid.models.sources import ModelInfo
from pellucid.models.sources.assumed import VALUES

_WRITE = (
    "give preprocessing=pellucid.Preprocessing(mean=(…), std=(…)), or pellucid.Preprocessing() where the network takes "
    "pixels in [0, 1] as they are"
)


@dataclass(frozen=True, eq=False)
class Pixels:
    """Images in [0, 1], (B, C, *space), and how they become a network's input: scale · pixels + offset.

    ``values`` are the input as it was given. That of changed pixels is values + scale · (changed − pixels): pixels that
    are unchanged give it to the last bit.
    """

    values: Tensor
    pixels: Tensor
    scale: Tensor

    @classmethod
    def of(cls, values: Tensor, known: Preprocessing) -> Pixels:
        """The pixels of a network's input (B, C, *space), by its normalisation.

        Raises:
            ShapeError: the normalisation is of another number of channels, or of pixels outside [0, 1].
            OptionError: it is that of nnU-Net's plans, which hangs on the whole image.
        """
        if known.plans is not None:
            raise OptionError(f"pixels before normalisation by {known.source} were asked for; {ONLY_WHOLE}")
        _check_numbers(known)
        mean, std = known.mean or (0.0,), known.std or (1.0,)
        if {len(mean), len(std)} - {1, values.shape[1]}:
            raise ShapeError(
                f"images of {values.shape[1]} channels were given, and a normalisation of "
                f"{max(len(mean), len(std))}: give preprocessing= with a mean and std for each channel"
            )
        low, high = known.range
        if 0 in std or low == high:
            raise ShapeError(f"std {std} and range {known.range} were given; no pixel comes back from them: {_WRITE}")
        scale, offset = ((high - low) / _axes(std, values)), (low - _axes(mean, values)) / _axes(std, values)
        pixels = (values.double() - offset) / scale if values.device.type != "mps" else (values - offset) / scale
        _check_range(pixels)
        exact = pixels.clamp(0, 1).to(values.dtype if values.dtype == torch.float64 else torch.float32)
        return cls(values, exact, scale.to(exact))

    def input_of(self, pixels: Tensor, rows: Tensor) -> Tensor:
        """The network's input for changed pixels (N, C, *space) of images ``rows`` (N,)."""
        values = self.values[rows].to(self.pixels.dtype)
        return values + self.scale * (pixels - self.pixels[rows])


def _axes(values: tuple[float, ...], like: Tensor) -> Tensor:
    """A value for each channel, or for all, of a shape that fits (B, C, *space)."""
    dtype = torch.float32 if like.device.type == "mps" else torch.float64
    return torch.tensor(values, device=like.device, dtype=dtype).reshape(1, -1, *(1,) * (like.ndim - 2))


def _check_numbers(known: Preprocessing) -> None:
    """Raise unless mean, std and range are numbers."""
    for name, count in (("mean", None), ("std", None), ("range", 2)):
        given = getattr(known, name)
        is_listed = isinstance(given, tuple | list) and (count is None or len(given) == count)
        if given is not None and not (is_listed and all(is_number(one) and math.isfinite(one) for one in given)):
            what = "two numbers, as in (0, 1)" if count else "a tuple with a number for each channel, as in (0.5,)"
            raise OptionError(f"Preprocessing({name}={shorten(repr(given), 60)}) was given; {name} is {what}")


def _check_range(pixels: Tensor) -> None:
    if not torch.isfinite(pixels).all():
        raise ShapeError("images with values that are not finite were given; an attack needs pixels: leave them out")
    low, high = float(pixels.min()), float(pixels.max())
    if low < -ROUNDING or high > 1 + ROUNDING:
        raise ShapeError(
            f"pixels in [0, 1] before normalisation were expected, got {low:.4g} to {high:.4g}: images and "
            f"normalisation do not belong together; {_WRITE}"
        )


def normalisation_of(given: Preprocessing | None, images: tuple[Image, ...], info: ModelInfo) -> Preprocessing:
    """The normalisation that is stated: by the caller, by the prepared images, or else by the model.

    Raises:
        OptionError: none is, or only an assumed one.
    """
    if given is not None:
        if not isinstance(given, Preprocessing):
            raise OptionError(f"preprocessing must be a pellucid.Preprocessing, got {type(given).__name__}: {_WRITE}")
        return given
    stated = [one.provenance["preprocessing"] for one in images if "preprocessing" in one.provenance]
    if any(one.get("plans") for one in stated):
        raise OptionError(f"pixels before normalisation by nnU-Net's plans were asked for; {ONLY_WHOLE}")
    if images and len(stated) == len(images) and all(_values(one) == _values(stated[0]) for one in stated):
        return Preprocessing(**_values(stated[0]))
    if info.preprocessing is None or VALUES in info.assumed:
        what = "is assumed, not stated" if info.preprocessing is not None else "is not known"
        raise OptionError(
            f"an attack was asked for, whose budget is in pixels; the model's normalisation {what}: {_WRITE}"
        )
    return info.preprocessing


def _values(stated: Mapping[str, Any]) -> dict[str, Any]:
    """What a recorded preprocessing says of the values."""
    return {
        name: tuple(stated[name]) if isinstance(stated.get(name), list | tuple) else stated.get(name)
        for name in ("mean", "std", "range")
    }
