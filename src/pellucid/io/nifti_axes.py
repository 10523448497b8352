"""Chooses one volume of a NIfTI file with more than three axes: a time point, or a position on a further axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from pellucid.io.refusal import refused
from pellucid.io.selection import Select, no_such, several

AXES = ("time", "axis5", "axis6", "axis7")
"""The axes after the spatial ones, by NIfTI's order."""


def volume_index(path: Path, shape: Sequence[int], select: Select) -> tuple[int, ...]:
    """The index of the selected volume on the axes after the third; positions are counted from 1 in ``select``.

    Raises:
        ImageError: there are several and none was selected, or there is none of this number.
    """
    further = shape[3:]
    if len(further) > len(AXES):
        raise refused(path, f"it has {len(shape)} axes; at most {3 + len(AXES)} are read")
    numbers = {name: _numbers(length) for name, length in zip(AXES, further, strict=False) if length > 1}
    for name, value in select.items():
        if value not in numbers.get(name, ()):
            raise no_such(path, name, value, numbers.get(name, ()))
    several_ = {name: each for name, each in numbers.items() if name not in select}
    if several_:
        count = math.prod(map(len, several_.values()))
        raise several(path, f"it holds {count} volumes", several_, {name: each[0] for name, each in several_.items()})
    return tuple(int(select.get(name, 1)) - 1 for name, _ in zip(AXES, further, strict=False))


def _numbers(length: int) -> list[str]:
    return [str(number) for number in range(1, length + 1)]
