"""The errors and the warning that pellucid raises, and helpers for their messages.

    PellucidError                     exit code 3
    ├── OptionError        ValueError     2   a value that an argument does not allow
    │   └── MethodError                   2   no explanation method of that name, or one whose code breaks a rule
    ├── ArgumentError      TypeError      2   an argument that a call does not have
    ├── ShapeError         ValueError     2   a tensor of the wrong rank, size or type
    ├── ImageIndexError    IndexError     2   an image that an explanation does not contain
    ├── TargetError        ValueError     2   a class that the model does not have
    ├── LayerError         ValueError     2   a layer that the model does not have
    ├── NoSpatialLayerError ValueError    3   a model without a layer whose output has spatial positions
    ├── NoAttentionError   RuntimeError   3   a model without attention maps that could be read
    ├── GradientError      RuntimeError   3   a score from which no gradient reaches the layer
    ├── OutputError        TypeError      3   a model output that contains no class scores
    ├── SourceError        ValueError     2   a model specification that names nothing
    ├── CheckpointError    ValueError     3   a weights file that is unsafe, broken or does not fit
    ├── ImageError         ValueError     3   a file that is not a readable image
    ├── DataError          ValueError     3   a data set, or what it states of a case, that cannot be used
    ├── ExportError        ValueError     3   a result that the image's source does not allow
    ├── OutputExistsError  RuntimeError   3   a result that exists already
    ├── WriteError         RuntimeError   3   a result that cannot be written
    │   └── DiskFullError                 3   a result for which there is no room on the disk
    ├── TransferError      RuntimeError   3   a server that cannot be reached, or refuses
    └── MissingPackageError RuntimeError  3   an optional package that is needed and not installed

A message is one line: what was asked, what came, what to do. ``exit_code`` is what the command line ends
with when the error ends the whole command. ``PellucidWarning`` is the category of every warning.
"""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Iterable
from difflib import get_close_matches
from textwrap import shorten
from typing import ClassVar


class PellucidError(Exception):
    """The root of the tree above."""

    exit_code: ClassVar[int] = 3


class OptionError(PellucidError, ValueError):
    """A value that an argument does not allow."""

    exit_code = 2


class MethodError(OptionError):
    """No explanation method of that name, or one whose code breaks a rule."""


class ArgumentError(PellucidError, TypeError):
    """An argument that a call does not have."""

    exit_code = 2


class ShapeError(PellucidError, ValueError):
    """A tensor of the wrong rank, size or type."""

    exit_code = 2


class ImageIndexError(PellucidError, IndexError):
    """An image that an explanation does not contain, or a selection that selects no images."""

    exit_code = 2


class TargetError(PellucidError, ValueError):
    """A class that the model does not have, or a number of targets that does not fit the images."""

    exit_code = 2


class LayerError(PellucidError, ValueError):
    """A layer that the model does not have, or that cannot be explained."""

    exit_code = 2


class NoSpatialLayerError(PellucidError, ValueError):
    """A model without a layer whose output has more than one spatial position."""


class NoAttentionError(PellucidError, RuntimeError):
    """A model without attention maps that can be read."""


class GradientError(PellucidError, RuntimeError):
    """A class score from which no gradient reaches the layer."""


class OutputError(PellucidError, TypeError):
    """A model output in which no class scores were found."""


class SourceError(PellucidError, ValueError):
    """A model specification that names nothing."""

    exit_code = 2


class CheckpointError(PellucidError, ValueError):
    """A weights file that is unsafe, broken, or does not fit; ``candidates``: the architectures, where several fit."""

    def __init__(self, message: str, candidates: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.candidates = tuple(candidates)


class ImageError(PellucidError, ValueError):
    """A file that is not a readable image."""


class DataError(PellucidError, ValueError):
    """A data set, or what it states of a case, that cannot be used.

    ``detail`` is what is known beyond the message, such as the size that a mask has.
    """

    def __init__(self, message: str, detail: str = "") -> None:
        super().__init__(message)
        self.detail = detail


class ExportError(PellucidError, ValueError):
    """A result that the image's source does not allow."""


class OutputExistsError(PellucidError, RuntimeError):
    """A result that exists already and must not be replaced."""


class WriteError(PellucidError, RuntimeError):
    """A result that cannot be written."""


class DiskFullError(WriteError):
    """A result for which there is no room on the disk; every further one would fail, too."""


class TransferError(PellucidError, RuntimeError):
    """A server that cannot be reached or that refuses; ``retry``: whether another attempt may succeed."""

    def __init__(self, message: str, retry: bool = False) -> None:
        super().__init__(message)
        self.retry = retry


class MissingPackageError(PellucidError, RuntimeError):
    """An optional package that is needed and not installed."""


class PellucidWarning(UserWarning):
    """Something was done that is probably not what was intended."""


def warn(message: str, category: type[Warning] = PellucidWarning) -> None:
    """Warn, pointing at the line outside of pellucid that led here."""
    level, frame = 1, sys._getframe()  # warnings.warn counts frames; from Python 3.12 it can skip a package itself
    within = ("pellucid", "abc")  # a class of a method is made by abc
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in within:
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means out of memory: torch has a class for a GPU, and only a message for the CPU."""
    message = str(error)
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or "can't allocate memory" in message
        or "not enough memory" in message
    )


def did_you_mean(asked: str, known: Iterable[str], count: int = 5) -> str:
    """The names of ``known`` that look most like ``asked``, as the end of a message ("" if none does)."""
    close = near(asked, known, count)
    return f"; did you mean {', '.join(close)}?" if close else ""


def near(asked: str, known: Iterable[str], count: int = 5) -> list[str]:
    """The names of ``known`` that look most like ``asked``.

    Case and punctuation do not count: of GradCAMPlusPlus it is gradcam++. Those that begin with ``asked`` come first.
    """
    plain = {name: _plain(name) for name in known}
    wanted = _plain(asked)
    same = [name for name, text in plain.items() if text == wanted]
    longer = sorted(name for name, text in plain.items() if wanted and text.startswith(wanted))
    found = get_close_matches(wanted, list(plain.values()), n=count, cutoff=0.5)
    alike = sorted((name for name, text in plain.items() if text in found), key=lambda name: found.index(plain[name]))
    return (same or list(dict.fromkeys([*longer, *alike])))[:count]


def _plain(name: str) -> str:
    """A name without case and punctuation; a plus counts, and "pp" at the end is two."""
    return re.sub("pp$", "plusplus", re.sub(r"[\W_]+", "", name.casefold().replace("+", "plus")))


def message_of(error: BaseException, width: int = 160) -> str:
    """The message of another library's error, shortened to fit into one line; its class where it has none."""
    return shorten(str(error), width, placeholder=" …") or type(error).__name__


def counted(count: int, noun: str) -> str:
    """A number with its noun.

    >>> counted(1, "case"), counted(2, "case")
    ('1 case', '2 cases')
    """
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
