"""Chooses one image where a file or series holds several at the same positions: time points, b-values, echoes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pellucid.errors import ImageError, OptionError, did_you_mean
from pellucid.io.dimensions import DIMENSIONS
from pellucid.io.refusal import refused

Select = Mapping[str, str]
"""The value that is chosen of each dimension, by the dimension's name."""
SelectLike = str | Mapping[str, Any] | None
"""What a user writes: "time=2", {"bvalue": 1000}, or None."""
NONE = "none"
"""The value where a dimension does not apply, such as the direction of an image without diffusion weighting."""
_SHOWN = 6


def parsed_select(select: SelectLike) -> Select:
    """The choice by name, each value as the text by which it is shown.

    Raises:
        OptionError: it is not written as name=value, or there is no dimension of that name.
    """
    if select is None:
        return {}
    pairs = [_pair(select)] if isinstance(select, str) else [(str(name), value) for name, value in select.items()]
    for name, value in pairs:
        if name not in DIMENSIONS:
            known = f"dimensions are {', '.join(DIMENSIONS)}"
            raise OptionError(f"select={ {name: str(value)} } was given; {known}{did_you_mean(name, DIMENSIONS)}")
    return {name: shown(value) for name, value in pairs}


def parsed_options(options: Sequence[str]) -> Select:
    """As ``parsed_select``, of several texts for one dimension each."""
    chosen: dict[str, str] = {}
    for option in options:
        name, value = _pair(option)
        if name in chosen:
            raise OptionError(f"select={ {name: chosen[name]} } and {value} were given: give one of them")
        chosen |= parsed_select({name: value})
    return chosen


def _pair(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign or not name.strip() or not value.strip():
        raise OptionError(f"select={text!r} was given; write name=value, such as time=2")
    return name.strip(), value.strip()


def shown(value: Any) -> str:
    """A value as text: numbers without superfluous digits, the parts of several values between slashes."""
    if value is None or value in ("", b""):
        return NONE
    if isinstance(value, str):
        return "/".join(_number(part.strip()) for part in value.split("/"))
    if isinstance(value, Iterable):
        return "/".join(shown(part) for part in value) or NONE
    return _number(str(value))


def _number(text: str) -> str:
    """A number in one form, however it is written: 1000.0 as 1000; a date and time as it is."""
    try:
        short = f"{float(text) + 0:.8g}"
    except ValueError:
        return text
    return short if short[-1].isdecimal() and "e" not in short else text


def ordered(values: Iterable[str]) -> list[str]:
    """Distinct values in order: numbers by size, then texts."""
    return sorted(set(values), key=_key)


def _key(value: str) -> tuple[bool, list[float], str]:
    try:
        return False, [float(part) for part in value.split("/")], value
    except ValueError:
        return True, [], value


def no_such(path: Path, name: str, value: str, values: Iterable[str]) -> ImageError:
    """The error for a value that a dimension does not have; ``values`` are those that it has."""
    has = ordered(values)
    found = f"its {name} is {_listed(has)}: give one of them" if has else f"it has no {name}: leave it out"
    return refused(path, f"select={ {name: value} } was given; {found}")


def several(path: Path, what: str, values: Mapping[str, Iterable[str]], example: Select) -> ImageError:
    """The error for an image that has to be chosen; ``example`` is a choice that is enough."""
    found = "; ".join(f"{name} {_listed(ordered(each))}" for name, each in values.items())
    return refused(path, f"{what}: give select={dict(example)}; there are {found}")


def _listed(values: Sequence[str]) -> str:
    if len(values) <= _SHOWN:
        return ", ".join(values)
    return f"{', '.join(values[: _SHOWN - 1])}, … {values[-1]} ({len(values)} values)"
