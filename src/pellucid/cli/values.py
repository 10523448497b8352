"""The texts of preprocessing's options as values. ``OptionError``: a text that an option does not allow."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pellucid.core.axes import LONGEST, SHORTEST, checked_orientation, checked_spacing
from pellucid.errors import OptionError

MODES = {"rgb": 3, "grey": 1, "gray": 1}
"""The words for numbers of channels."""
_MOST_CHANNELS = 64
STORED = "stored"
"""The word for axes that stay as they are in the file."""


def lengths(option: str, text: str | None) -> tuple[int, ...] | None:
    """One to three lengths in pixels."""
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if len(parts) > 3 or not all(part.isdecimal() and len(part) < 10 and int(part) for part in parts):
        raise OptionError(f"{option} {text} was given; write whole numbers above 0: one, H,W, or D,H,W of a volume")
    return tuple(map(int, parts))


def orientation(text: str | None) -> str | None:
    """Codes of a volume's axes, or ``STORED``."""
    if text is None or text.lower() == STORED:
        return None if text is None else STORED
    try:
        return checked_orientation(text)
    except OptionError as error:
        raise OptionError(f"--{error}; or {STORED}") from None


def spacing(text: str | None) -> tuple[float, ...] | None:
    """Three lengths in mm."""
    if text is None:
        return None
    wanted = f"three numbers of mm from {SHORTEST:f} to {LONGEST:,.0f}, or one for all, as in 1.5,1.5,2"
    found = numbers("--spacing", text, wanted) or ()
    try:
        return checked_spacing(found * 3 if len(found) == 1 else found)
    except OptionError:
        raise OptionError(f"--spacing {text} was given; write {wanted}") from None


def limits(text: str | None) -> tuple[float, float] | None:
    """A lower and a higher number."""
    wanted = "a lower and a higher number, as in 0,255"
    found = numbers("--range", text, wanted)
    if found is None:
        return None
    if len(found) != 2 or not found[0] < found[1]:
        raise OptionError(f"--range {text} was given; write {wanted}")
    return found[0], found[1]


def deviations(text: str | None) -> tuple[float, ...] | None:
    """Standard deviations."""
    wanted = "numbers above 0, as in 0.229,0.224,0.225"
    found = numbers("--std", text, wanted)
    if found is not None and min(found) <= 0:
        raise OptionError(f"--std {text} was given; write {wanted}")
    return found


def numbers(option: str, text: str | None, wanted: str) -> tuple[float, ...] | None:
    """Finite numbers; an error says what is ``wanted``."""
    if text is None:
        return None
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError:
        found = (math.nan,)
    if not all(math.isfinite(number) for number in found):
        raise OptionError(f"{option} {text} was given; write {wanted}")
    return found


def channels(text: str | None) -> tuple[int | None, tuple[str, ...]]:
    """The number of channels that an option states, and the names of files."""
    if text is None or text.lower() in MODES:
        return None if text is None else MODES[text.lower()], ()
    if text.isdecimal() and len(text) < 10 and 1 <= int(text) <= _MOST_CHANNELS:
        return int(text), ()
    names = tuple(name.strip() for name in text.split(","))
    is_list = len(names) > 1 or any(sign in text for sign in ".*")
    if not is_list or len(names) > _MOST_CHANNELS or not all(names) or any("/" in name for name in names):
        raise OptionError(
            f"--channels {text} was given; it is rgb, grey, a number from 1 to {_MOST_CHANNELS}, or names of files in "
            "each input folder, as in t1.nii,t2.nii"
        )
    if len(set(names)) < len(names):
        raise OptionError(f"--channels {text} was given; a name is there twice: name each file once")
    return len(names) if len(names) > 1 else None, names


def text_of(values: Sequence[float]) -> str:
    """Numbers as an option has them."""
    return ",".join(str(value) if isinstance(value, int) else f"{value:g}" for value in values)
