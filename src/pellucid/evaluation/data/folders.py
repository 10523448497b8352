"""Finds the files that a data set names, within the folders that a user named."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pellucid.errors import DataError
from pellucid.io import SUFFIXES
from pellucid.io.refusal import one_line

_LONGEST = 4096


@dataclass(frozen=True)
class Folders:
    """Folders that hold a data set: those in which a relative path may begin, and all in which a file may be.

    A data set may come from anywhere. So a file outside these folders is not opened: not by "..", not by an absolute
    path, and not by a link.
    """

    begins: tuple[Path, ...]
    allowed: tuple[str, ...]

    @staticmethod
    def of(begins: Sequence[Path], others: Sequence[Path] = ()) -> Folders:
        """The folders in which paths begin, the first of them first, and others in which files may be."""
        real = dict.fromkeys(os.path.realpath(folder) for folder in (*begins, *others))
        return Folders(tuple(dict.fromkeys(begins)), tuple(real))

    def found(self, text: str, noun: str) -> tuple[Path, str]:
        """The file that a path names, and its name: the path from the folder in which it begins.

        Umlauts may be written in either form of Unicode, and the suffix of an image file may be missing.

        Raises:
            DataError: there is none (``noun`` is missing), or it is outside.
        """
        reason = f"its {noun} is missing"
        for written in _written(text):
            for begin in self.begins:
                path = begin / written
                real = os.path.realpath(path)
                if not any(_is_in(real, folder) for folder in self.allowed):
                    reason = f"its {noun} is outside the folders of the data set"
                elif Path(real).is_file():
                    return path, _name(path, begin)
        raise DataError(reason, one_line(text))


def _written(text: str) -> Iterator[str]:
    """The ways to write a path: as it is, with umlauts in another form or slashes for backslashes, with a suffix.

    File systems keep the form of umlauts as given, and Windows has backslashes.
    """
    if not text or "\0" in text or len(text) > _LONGEST:
        return
    yield text
    slashed = text.replace("\\", "/")
    forms = dict.fromkeys(unicodedata.normalize(form, path) for path in (text, slashed) for form in ("NFC", "NFD"))
    yield from (form for form in (slashed, *forms) if form != text)
    if not Path(text).suffix:
        yield from (f"{text}{suffix}" for suffix in SUFFIXES)


def _is_in(real: str, folder: str) -> bool:
    return real.startswith(folder.rstrip(os.sep) + os.sep)


def _name(path: Path, begin: Path) -> str:
    """The path from a folder, or as it is where it is not below it; with slashes."""
    relative = os.path.relpath(path, begin)
    return path.as_posix() if relative.startswith("..") else Path(relative).as_posix()
