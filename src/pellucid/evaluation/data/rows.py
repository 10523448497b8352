"""Puts together what the rows of a table state of an image."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pellucid.errors import DataError
from pellucid.evaluation.case import Case, Exclusion, Outline
from pellucid.evaluation.data import cells
from pellucid.evaluation.data.columns import Columns
from pellucid.evaluation.data.folders import Folders
from pellucid.evaluation.data.mask_file import MaskFile
from pellucid.evaluation.data.outlines import NO_BOX, Boxes, United, united

MOST_GROUPS = 20
MOST_VALUES = 20
"""The most columns that make subgroups, and the most different values of each."""
_MOST_TEXT = 200
_FEW = 10
"""The share of wrong boxes that is accepted is one divided by this."""


@dataclass
class Stated:
    """What rows state of an image, gathered row by row."""

    labels: dict[str, None] = field(default_factory=dict)
    outlines: dict[str, list[Outline]] = field(default_factory=dict)
    once: dict[str, str] = field(default_factory=dict)
    """Patient and split."""
    groups: dict[str, set[str]] = field(default_factory=dict)
    lines: set[tuple[str, ...]] = field(default_factory=set)

    def findings(self) -> dict[str, Outline]:
        """The outlines of each label as one."""
        return {label: united(found) for label, found in self.outlines.items()}


@dataclass(frozen=True)
class Rows:
    """Reads rows of a table with these columns; ``masks`` finds mask files, ``has_comma`` is of decimal numbers."""

    columns: Columns
    masks: Folders
    has_comma: bool

    def add(self, line: Sequence[str], stated: Stated) -> None:
        """Add what a row states.

        Raises:
            DataError: an outline cannot be read, or its file is missing; or the row contradicts one before.
        """
        labels = list(dict.fromkeys(cells.listed(self._cell(line, "label"))))
        stated.labels.update(dict.fromkeys(labels))
        self._add_outlines(line, labels, stated)
        for name in ("patient", "split"):
            value = self._cell(line, name).strip()[:_MOST_TEXT]
            if value and stated.once.setdefault(name, value) != value:
                raise DataError(f"its rows state more than one {name}")
        for name, index in self.columns.groups.items():
            if value := line[index].strip():
                stated.groups.setdefault(name, set()).add(value[:_MOST_TEXT])

    def _cell(self, line: Sequence[str], read: str) -> str:
        index = self.columns.of.get(read)
        return "" if index is None else line[index]

    def _add_outlines(self, line: Sequence[str], labels: Sequence[str], stated: Stated) -> None:
        """Add the outlines of a row to those of its labels: as many masks as labels are one each."""
        masks = self._masks(self._cell(line, "mask"))
        others = [*self._boxes(line), *self._written(line)]
        if len(masks) == len(labels):
            for label, mask in zip(labels, masks, strict=True):
                stated.outlines.setdefault(label, []).append(mask)
            masks = []
        for label in labels or [""]:
            if found := [*masks, *others]:
                stated.outlines.setdefault(label, []).extend(found)

    def _masks(self, cell: str) -> list[Outline]:
        if cells.is_none(cell):
            return []
        try:
            return [MaskFile(self.masks.found(cell.strip(), "mask")[0])]
        except DataError:
            if len(cells.listed(cell)) < 2:
                raise
        return [MaskFile(self.masks.found(name, "mask")[0]) for name in cells.listed(cell)]

    def _boxes(self, line: Sequence[str]) -> Iterator[Outline]:
        """The box in a row's four columns of numbers, if there is one."""
        given = [line[index] for index in self.columns.corners or self.columns.sides]
        if all(map(cells.is_none, given)):
            return
        x, y, *ends = (cells.number_in(cell, self.has_comma) for cell in given)
        yield Boxes(((x, y, *(ends if self.columns.corners else (x + ends[0], y + ends[1]))),))

    def _written(self, line: Sequence[str]) -> Iterator[Outline]:
        """The outlines that are written as text."""
        for read, parsed in (("box", cells.boxes_in), ("rle", cells.runs_in), ("polygon", cells.polygons_in)):
            cell = self._cell(line, read)
            if not cells.is_none(cell):
                yield parsed(cell)


def check_boxes(cases: Sequence[Case], excluded: Sequence[Exclusion], asked: str) -> None:
    """Check that boxes are corners in pixels: a few that are not are excluded, but of many all mean something else.

    Raises:
        DataError: all boxes lie within 0 and 1, as shares of the image's sides do; or more than a tenth of the boxes
            have no corners in order, as (x, y, width, height) has.
    """
    boxes = [box for case in cases for outline in case.findings.values() for box in _boxes_of(outline)]
    wrong = sum(one.reason == NO_BOX for one in excluded)
    if wrong * _FEW > wrong + len(boxes):
        raise DataError(
            f"{asked}; {wrong} of its boxes are not (x0, y0, x1, y1) with x0 < x1 and y0 < y1: if they are "
            "(x, y, width, height), write four columns x,y,width,height"
        )
    if boxes and max(max(box) for box in boxes) <= 1:
        raise DataError(f"{asked}; its boxes all lie within 0 and 1: write them in pixels of the images")


def _boxes_of(outline: Outline) -> Iterator[tuple[float, ...]]:
    for one in outline.outlines if isinstance(outline, United) else (outline,):
        yield from one.boxes if isinstance(one, Boxes) else ()


def groups_of(all_stated: Mapping[str, Stated], names: Iterable[str]) -> tuple[dict[str, dict[str, str]], list[str]]:
    """The subgroups of each image by column, and notes on the columns that make none."""
    names = list(names)
    values: dict[str, set[str]] = {name: set() for name in names}
    mixed: dict[str, None] = {}
    for stated in all_stated.values():
        for name, found in stated.groups.items():
            values[name] |= found
            if len(found) > 1:
                mixed[name] = None
    many = [name for name in names if name not in mixed and len(values[name]) > MOST_VALUES]
    fitting = [name for name in names if name not in mixed and name not in many]
    taken = fitting[:MOST_GROUPS]
    groups = {
        key: {name: next(iter(stated.groups[name])) for name in taken if name in stated.groups}
        for key, stated in all_stated.items()
    }
    reasons = (
        (many, f"it has more than {MOST_VALUES} values"),
        (list(mixed), "rows of one image differ in it"),
        (fitting[MOST_GROUPS:], f"there are {MOST_GROUPS} before it"),
    )
    return groups, [f"No subgroups by {_some(left)}: {reason}." for left, reason in reasons if left]


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(name or "a column without a name" for name in names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown
