"""What annotation files share: their values are checked, and outlines are gathered by image and label."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pellucid.errors import DataError
from pellucid.evaluation.case import Case, Exclusion, Outline, Source
from pellucid.evaluation.data.outlines import Boxes, Polygons, RunLengths, united

BROKEN = "its annotation is broken"
_FARTHEST = 2.0**31
"""Coordinates are nearer than this, in pixels."""
_MOST_CORNERS = 2**20
_MOST_TEXT = 200
"""Characters of a name."""


def number_of(value: Any) -> float:
    """A coordinate in pixels. ``DataError``: it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _FARTHEST:
        raise DataError(BROKEN, "a coordinate that is no number of pixels")
    return float(value)


def pixels_of(text: str) -> float:
    """A coordinate in pixels, of a table. ``DataError``: it is none."""
    try:
        return number_of(float(text))
    except ValueError:
        raise DataError(BROKEN, "a coordinate that is no number of pixels") from None


def size_of(value: Any) -> tuple[int, int]:
    """The size (H, W) that an annotation is stated for. ``DataError``: it is none."""
    sides = list_of(value)
    if len(sides) != 2 or any(isinstance(side, bool) or not isinstance(side, int) or side < 1 for side in sides):
        raise DataError(BROKEN, "a size that is not [height, width]")
    return sides[0], sides[1]


def list_of(value: Any) -> list[Any]:
    """A list of JSON. ``DataError``: it is none."""
    if not isinstance(value, list):
        raise DataError(BROKEN, f"a list was expected, {type(value).__name__} came")
    return value


def object_of(value: Any) -> dict[str, Any]:
    """An object of JSON. ``DataError``: it is none."""
    if not isinstance(value, dict):
        raise DataError(BROKEN, f"an object was expected, {type(value).__name__} came")
    return value


def name_of(value: Any) -> str:
    """A name, in one line. ``DataError``: it is none, or longer than 200 characters."""
    name = " ".join(value.split()) if isinstance(value, str) else ""
    if not 0 < len(name) <= _MOST_TEXT:
        raise DataError(BROKEN, "a name that is no text of 1 to 200 characters")
    return name


def identifier_of(value: Any) -> str | None:
    """Whose an image is, or its part of the data set, a text or a whole number; None where it is neither."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return str(value)[:_MOST_TEXT].strip() or None


def box_of(x: float, y: float, width: float, height: float, size: tuple[int, int] | None) -> Boxes:
    """A box by its corner and its sides. ``DataError``: a side is not above 0."""
    if not (width > 0 and height > 0):
        raise DataError(BROKEN, "a box whose sides are not above 0")
    return Boxes(((x, y, x + width, y + height),), size)


def polygons_of(given: Iterable[Sequence[Any]], size: tuple[int, int] | None) -> Polygons:
    """Polygons, each a list of corners [x, y]. ``DataError``: one has fewer than 3 corners or more than 2²⁰."""
    found = []
    for corners in given:
        if not 3 <= len(corners) <= _MOST_CORNERS:
            raise DataError(BROKEN, f"a polygon of {len(corners):,} corners")
        if any(not isinstance(corner, list | tuple) or len(corner) != 2 for corner in corners):
            raise DataError(BROKEN, "a corner that is not [x, y]")
        found.append(tuple((number_of(x), number_of(y)) for x, y in corners))
    return Polygons(tuple(found), size)


def runs_of(given: Mapping[str, Any]) -> RunLengths:
    """COCO's run-length encoding, {"size": [H, W], "counts": …}. ``DataError``: it is none."""
    size, counts = size_of(given.get("size")), given.get("counts")
    if isinstance(counts, str):
        return RunLengths(counts, size)
    runs = list_of(counts)
    if any(isinstance(run, bool) or not isinstance(run, int) for run in runs):
        raise DataError(BROKEN, "run lengths that are no whole numbers")
    return RunLengths(tuple(runs), size)


@dataclass
class Gathering:
    """Collects the cases of an annotation file: outlines by image and label, and what is wrong with an image.

    An image with an annotation that cannot be read is excluded as a whole: without it, it would count as an image that
    has no such finding.
    """

    outlines: dict[str, dict[str, list[Outline]]] = field(default_factory=lambda: defaultdict(dict))
    wrong: dict[str, Exclusion] = field(default_factory=dict)

    def state(self, name: str, label: str, outline: Outline | None) -> None:
        """A label of an image, with its outline if it has one."""
        outlines = self.outlines[name].setdefault(label, [])
        if outline is not None:
            outlines.append(outline)

    def refuse(self, name: str, error: DataError) -> None:
        """Exclude an image; the first reason counts."""
        self.wrong.setdefault(name, Exclusion(name, str(error), error.detail))

    def case(self, name: str, source: Source, patient: str | None = None, split: str | None = None) -> Case:
        """The case of an image: one without annotations is stated to have no finding."""
        stated = self.outlines.get(name, {})
        findings = {label: united(outlines) for label, outlines in stated.items() if outlines}
        return Case(name, source, tuple(sorted(stated)), findings, patient, split)
