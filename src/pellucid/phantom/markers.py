"""Markers that can betray a class: what a network that takes a shortcut looks at in place of the finding."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from textwrap import shorten

import torch
from torch import Tensor

from pellucid.core.default_device import on_cpu_by_default
from pellucid.core.numbers import is_seed
from pellucid.core.space import gaussian
from pellucid.errors import OptionError, did_you_mean
from pellucid.phantom.fields import between, chosen, generator
from pellucid.phantom.scene import Phantoms, letter

_BLUR = 0.009
"""Standard deviation of the blur, in sides: it takes away the grain, and leaves what is larger than a few pixels."""
_DIGITS = (
    "111101101101111",
    "010110010010111",
    "111001111100111",
    "111001111001111",
    "101101111001001",
    "111100111001111",
    "111100111101111",
    "111001001001001",
    "111101111101111",
    "111101111001111",
)
"""The digits 0 to 9, three dots wide and five high, row by row."""
_LENGTH = 5
"""The number of digits of a text."""
_DOTS = 64
"""Dots of a text per side of the image."""


@on_cpu_by_default
def marked(phantoms: Phantoms, marker: str, on: Tensor | Sequence[bool], seed: int = 0) -> Phantoms:
    """The same radiographs, those of ``on`` (B,) bool, a tensor or a list, with a marker, the others as they are.

    | marker | what it is | where |
    | --- | --- | --- |
    | letter | a bright L or Γ | the upper left corner |
    | corner | a bright block, as of a collimator | the lower right corner |
    | text | five burned-in digits | the lower left corner |
    | blur | a Gaussian blur of the whole image | nowhere: no map can show it |

    ``markers`` of the result are the pixels of the marker, (B, H, W): none for the blur. Its form depends on ``seed``
    and the image's number only, not on which others have it. The result cannot be drawn again.

    Raises:
        OptionError: there is no such marker, they are volumes, or ``on`` is no bool for each image.

    >>> from pellucid.phantom import radiographs
    >>> found = marked(radiographs(3, 64), "corner", torch.tensor([True, False, True]))
    >>> found.markers.flatten(1).any(1)
    tensor([ True, False,  True])
    """
    if not isinstance(marker, str) or marker not in _MARKERS:
        raise OptionError(
            f"marker {marker!r} was asked for; there are {', '.join(_MARKERS)}{did_you_mean(str(marker), _MARKERS)}"
        )
    if phantoms.images.ndim != 4:
        raise OptionError("markers were asked for; volumes were given, and they are drawn on radiographs alone")
    if not is_seed(seed):
        raise OptionError(f"seed={seed!r} was asked for; it is a whole number from 0, below 2 to the power of 63")
    numbers = [number for number, is_marked in enumerate(_bools(on, len(phantoms))) if is_marked]
    images, markers = phantoms.images.clone(), torch.zeros_like(phantoms.markers)
    for number in numbers:
        found = _MARKERS[marker](images[number, 0], generator(seed, number, f"{marker} marker"))
        images[number, 0], markers[number] = found
    return replace(phantoms, images=images, markers=markers, origin=None)


def _bools(on: Tensor | Sequence[bool], count: int) -> list[bool]:
    """Whether each of ``count`` images gets the marker."""
    each = on.tolist() if hasattr(on, "tolist") else on
    if isinstance(each, list | tuple) and len(each) == count and all(isinstance(one, bool) for one in each):
        return list(each)
    found = f"{tuple(on.shape)} {on.dtype}" if isinstance(on, Tensor) else shorten(repr(on), 60)
    raise OptionError(f"on {found} was given; give a bool for each of the {count} images")


def _letter(image: Tensor, source: torch.Generator) -> tuple[Tensor, Tensor]:
    return _bright(image, letter(_positions(image), source), source)


def _corner(image: Tensor, source: torch.Generator) -> tuple[Tensor, Tensor]:
    y, x = _positions(image)
    return _bright(image, (y > 1 - between(0.08, 0.14, source)) & (x > 1 - between(0.08, 0.14, source)), source)


def _text(image: Tensor, source: torch.Generator) -> tuple[Tensor, Tensor]:
    digits = [_DIGITS[chosen(10, source)] for _ in range(_LENGTH)]
    dots = torch.zeros(_DOTS, _DOTS, dtype=torch.bool)
    top, left = _DOTS - 7, 2 + chosen(6, source)
    for place, digit in enumerate(digits):
        cells = torch.tensor([dot == "1" for dot in digit]).view(5, 3)
        start = left + 4 * place
        dots[top : top + 5, start : start + 3] = cells
    rows, columns = ((one * _DOTS).long().clamp(max=_DOTS - 1) for one in _positions(image))
    return _bright(image, dots[rows, columns], source)


def _blur(image: Tensor, _source: torch.Generator) -> tuple[Tensor, Tensor]:
    deviation = _BLUR * image.shape[-1]
    reach = min(max(1, round(4 * deviation)), min(image.shape) - 1)
    for axis in (0, 1):
        image = gaussian(image, axis, deviation, reach, "reflect")
    return image, torch.zeros(image.shape, dtype=torch.bool)


def _bright(image: Tensor, where: Tensor, source: torch.Generator) -> tuple[Tensor, Tensor]:
    return torch.where(where, between(0.9, 1.0, source), image), where


def _positions(image: Tensor) -> Tensor:
    """The position of each pixel's centre, (2, H, W), from 0 to 1."""
    each = [(torch.arange(side) + 0.5) / side for side in image.shape]
    return torch.stack(torch.meshgrid(*each, indexing="ij"))


_MARKERS: Mapping[str, Callable[[Tensor, torch.Generator], tuple[Tensor, Tensor]]] = {
    "letter": _letter,
    "corner": _corner,
    "text": _text,
    "blur": _blur,
}
MARKERS = tuple(_MARKERS)
"""The names of the markers."""
