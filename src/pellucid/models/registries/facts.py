"""What ``model_info`` knows of a model, kept beside its version: class names, head and preprocessing, exactly."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, TypeGuard, get_args

from pellucid.core.head import HEADS
from pellucid.core.limits import MAX_PIXELS
from pellucid.errors import OptionError
from pellucid.models.checkpoints.stated import LARGEST_SIDE, SMALLEST_STD
from pellucid.models.checkpoints.stated_classes import LONGEST_NAME, MOST_CLASSES
from pellucid.models.preprocessing import Preprocessing
from pellucid.models.registries.record import texts
from pellucid.models.resizing import Interpolation

MOST_CHANNELS = 4096
_LARGEST = 1e9


def preprocessing_json(known: Preprocessing) -> dict[str, Any]:
    """Return a preprocessing as JSON has it: each field, tuples as lists. ``OptionError``: it is by plans."""
    if known.plans is not None:
        raise OptionError(
            "a preprocessing by nnU-Net's plans was to be kept, which a registry's record cannot state: load the model "
            "without it to save it, and give the plans where it is used"
        )
    kept = asdict(known)
    return {name: list(one) if isinstance(one, tuple) else one for name, one in kept.items() if name != "plans"}


def preprocessing_of(found: Any) -> Preprocessing | None:
    """Return the preprocessing that ``preprocessing_json`` made; None of anything that no network's can be."""
    if not isinstance(found, Mapping) or not all(
        isinstance(found.get(name), str) for name in ("source", "interpolation")
    ):
        return None
    channels = found.get("channels")
    if not _is_whole(channels, MOST_CHANNELS) or found["interpolation"] not in get_args(Interpolation):
        return None
    try:
        mean, std, limits, spacing = (_numbers(found.get(name)) for name in ("mean", "std", "range", "spacing"))
        known = Preprocessing(
            _size(found.get("resize")),
            _sequence(_size(found.get("crop"))),
            mean,
            std,
            found["interpolation"],
            channels,
            found["source"][:LONGEST_NAME],
            _pair(limits),
            _codes(found.get("orientation")),
            spacing,
        )
    except (ValueError, OptionError):
        return None
    return known if _makes_sense(known) else None


def classes_of_record(found: Any) -> tuple[str, ...] | None:
    """Return class names that a record keeps; None of anything else."""
    names = tuple(texts(found, MOST_CLASSES))
    return names if names and all(name.isprintable() and len(name) < LONGEST_NAME for name in names) else None


def head_of_record(found: Any) -> str | None:
    """Return a head that a record keeps; None of anything else."""
    return found if isinstance(found, str) and found in HEADS else None


def _makes_sense(known: Preprocessing) -> bool:
    low, high = known.range
    lengths = {len(values) for values in (known.mean, known.std) if values is not None}
    return low < high and lengths <= {known.channels} and min(known.std or (1.0,)) >= SMALLEST_STD


def _size(value: Any) -> int | tuple[int, ...] | None:
    """A side, or two or three; None where there is none. ``ValueError``: none that an image can have."""
    sides = value if isinstance(value, list) and len(value) in (2, 3) else [value]
    if value is not None and not all(_is_whole(side, LARGEST_SIDE) for side in sides):
        raise ValueError("a size is one to three whole numbers")
    if value is not None and math.prod(sides) > MAX_PIXELS:
        raise ValueError("a size is that of an image that can be read")
    return tuple(value) if isinstance(value, list) else value


def _sequence(value: int | tuple[int, ...] | None) -> tuple[int, ...] | None:
    if isinstance(value, int):
        raise ValueError("a crop has two or three sides")
    return value


def _numbers(value: Any) -> tuple[float, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or not 0 < len(value) <= MOST_CHANNELS or not all(map(_is_number, value)):
        raise ValueError("numbers were expected")
    return tuple(float(one) for one in value)


def _pair(values: tuple[float, ...] | None) -> tuple[float, float]:
    if values is None or len(values) != 2:
        raise ValueError("a range has two numbers")
    return values[0], values[1]


def _codes(value: Any) -> str | None:
    if value is not None and not (isinstance(value, str) and len(value) == 3):
        raise ValueError("axis codes are three letters")
    return value


def _is_whole(value: Any, most: int) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= most


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and -_LARGEST < value < _LARGEST
