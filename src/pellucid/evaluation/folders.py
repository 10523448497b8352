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
        for begin, written in self._candidates(text):
            real = os.path.realpath(begin / written)
            if not any(_is_in(real, folder) for folder in self.allowed):
                reason = f"its {noun} is outside the folders of the data set"
            elif Path(real).is_file():
                return begin / written, _name(begin / written, begin)
        raise DataError(reason, one_line(text))

    def _candidates(self, text: str) -> Iterator[tuple[Path, str]]:
        """Where a path may lead: as it is written, in other forms of Unicode, then with the suffixes of images."""
        if not text or "\0" in text or len(text) > _LONGEST:
            return
        forms = list(dict.fromkeys([text, *_other_forms(text)]))
        suffixed = [f"{form}{suffix}" for form in forms[:1] for suffix in SUFFIXES if not Path(text).suffix]
        for written in (*forms, *suffixed):
            for begin in self.begins:
                yield begin, written


def _other_forms(text: str) -> Iterator[str]:
    """Other ways to write a path: file systems keep the form of umlauts as given, and Windows has backslashes."""
    for path in (text, text.replace("\\", "/")):
        yield path
        yield unicodedata.normalize("NFC", path)
        yield unicodedata.normalize("NFD", path)


def _is_in(real: str, folder: str) -> bool:
    return real.startswith(folder.rstrip(os.sep) + os.sep)


def _name(path: Path, begin: Path) -> str:
    """The path from a folder, or as it is where it is not below it; with slashes."""
    relative = os.path.relpath(path, begin)
    return path.as_posix() if relative.startswith("..") else Path(relative).as_posix()
