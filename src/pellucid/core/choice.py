"""``Choice``: which method at which layers was measured to be faithful to a network, or why none was chosen."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pellucid.core.archive import write_file
from pellucid.errors import DataError, OptionError, OutputExistsError, WriteError

FORMAT = "pellucid-choice-1"
_LARGEST = 2**22


@dataclass(frozen=True)
class ReplacementTrial:
    """What may take the place of pixels, and whether its figures can be trusted on these images.

    ``fall`` is how far the mean score falls where it replaces whole images, of ``score``; ``distance`` how far the
    network's features of images with replaced patches are from those of other images, in units of the images' own
    distances; ``agreement`` the rank correlation of the pairs' grades between halves of the images. ``refused`` says
    why it is left out; it is empty if it is used.
    """

    name: str
    score: float
    fall: float
    distance: float
    agreement: float = math.nan
    refused: str = ""


@dataclass(frozen=True)
class GradedPair:
    """A method at some layers: its grade with the ends of its interval (NaN if withheld), and what it costs.

    ``share`` is how much of the score passes through the layers, ``passes`` the forward passes of an explained image,
    ``stage`` the last stage in which it was measured. ``excluded`` says why it cannot be chosen. ``options`` are the
    method's, as ``catalogue.settings`` states them. ``hits`` (with the ends of its interval) is how often the peak of
    the maps lies in the mask, and ``mass`` their mean share in it, where masks were given, which had no part in it.
    """

    method: str
    layers: tuple[str, ...]
    grade: float
    low: float
    high: float
    passes: float
    share: float | None = None
    stage: int = 1
    excluded: str = ""
    is_convention: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    hits: float = math.nan
    hits_low: float = math.nan
    hits_high: float = math.nan
    mass: float = math.nan

    @property
    def key(self) -> tuple[str, tuple[str, ...], tuple[tuple[str, Any], ...]]:
        """What tells pairs apart: the method with its options, and the layers."""
        return self.method, self.layers, tuple(self.options.items())

    def __str__(self) -> str:
        return f"{self.method} at {', '.join(self.layers)}" if self.layers else self.method


@dataclass(frozen=True)
class Choice:
    """The pairs that were measured, the best first, and the number of the chosen one; None where there is no choice.

    ``reason`` says why there is none, or how clearly the chosen one is ahead. ``images`` were scored; the tissue of
    those with the numbers ``donors`` replaced theirs; hits and mass are of ``located`` others, with a mask. A choice is
    faithful to the network: it does not say that the network is right about the disease.
    """

    pairs: tuple[GradedPair, ...]
    replacements: tuple[ReplacementTrial, ...]
    chosen: int | None
    reason: str
    images: int
    passes: int = 0
    weights_sha256: str = ""
    versions: Mapping[str, str] | None = None
    donors: tuple[int, ...] = ()
    located: int = 0

    @property
    def best(self) -> GradedPair:
        """The chosen pair.

        Raises:
            OptionError: there is no choice; the message says why.
        """
        if self.chosen is None:
            raise OptionError(f"the chosen method was asked for; none was chosen ({self.reason}): name a method")
        return self.pairs[self.chosen]

    @property
    def method(self) -> str:
        """The chosen method. ``OptionError``: as ``best``."""
        return self.best.method

    @property
    def layers(self) -> tuple[str, ...] | None:
        """The chosen layers; None of a method that looks at none. ``OptionError``: as ``best``."""
        return self.best.layers or None

    def table(self) -> str:
        """The replacements and the pairs, as text."""
        lines = ["replacement     score   fall  distance  agreement"]
        for one in self.replacements:
            figures = f"{one.score:6.2f} {one.fall:6.2f} {_text(one.distance):>9} {_text(one.agreement):>10}"
            lines.append(f"{one.name:14}{figures}  {one.refused and f'left out: {one.refused}'}".rstrip())
        masked = "  hits  mass" if self.located else ""
        lines += [""] if not self.pairs else ["", f"   grade  interval        share  passes{masked}  pair"]
        for number, pair in enumerate(self.pairs):
            mark = "→" if number == self.chosen else " "
            interval = "withheld" if math.isnan(pair.low) else f"{pair.low:.2f} to {pair.high:.2f}"
            share = "" if pair.share is None else f"{pair.share:.2f}"
            note = f"  never chosen: {pair.excluded}" if pair.excluded else "  convention" if pair.is_convention else ""
            found = f"  {pair.hits:4.2f}  {pair.mass:4.2f}" if self.located else ""
            lines.append(
                f" {mark} {pair.grade:5.2f}  {interval:14}  {share:>5}  {pair.passes:6.0f}{found}  {pair}{note}"
            )
        lines += [f"\nhits and mass: of {self.located} other images, with masks"] if self.located else []
        return "\n".join([*lines, "", self.reason])

    def to_json(self) -> str:
        """The choice as JSON; NaN is null."""
        return json.dumps({"format": FORMAT, **_plain(asdict(self))}, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Choice:
        """The choice that JSON holds. ``DataError``: it holds none."""
        try:
            found = json.loads(text)
            if found.pop("format") != FORMAT:
                raise ValueError("format")
            pairs = tuple(GradedPair(**{**_numbers(one), "layers": tuple(one["layers"])}) for one in found.pop("pairs"))
            replacements = tuple(ReplacementTrial(**_numbers(one)) for one in found.pop("replacements"))
            made = cls(pairs, replacements, donors=tuple(found.pop("donors", ())), **found)
            if made.chosen is not None and not 0 <= made.chosen < len(pairs):
                raise ValueError("chosen")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise DataError(f"a choice was expected; the text holds none ({type(error).__name__})") from None
        return made

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the choice into a new file, which appears only when it is complete.

        Raises:
            OutputExistsError: there is a file already.
            WriteError: the system refuses to write there.
        """
        if os.path.lexists(path):
            raise OutputExistsError(f"{path} is already there: remove it, or give another name")
        try:
            write_file(Path(path), self.to_json().encode())
        except OSError as error:
            raise WriteError(f"{path}: the choice cannot be written ({error.strerror or error}): allow it") from None

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Choice:
        """Read a choice. ``DataError``: the file holds none."""
        file = Path(path)
        try:
            if file.stat().st_size > _LARGEST:
                raise DataError(f"{file}: more than {_LARGEST:,} bytes, which is no choice: give another file")
            return cls.from_json(file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{file}: no choice can be read ({type(error).__name__}): give another file") from None


_NUMBERS = (
    "grade",
    "low",
    "high",
    "passes",
    "score",
    "fall",
    "distance",
    "agreement",
    "hits",
    "hits_low",
    "hits_high",
    "mass",
)


def _numbers(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: math.nan if value is None and name in _NUMBERS else value for name, value in values.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _text(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.2f}"
