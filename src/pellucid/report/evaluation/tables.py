"""Tables of the page: every cell has what it is counted on, and a table with many columns becomes several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from pellucid.evaluation.unit import Unit
from pellucid.report.evaluation.numbers import NONE, in_words, of
from pellucid.report.evaluation.wording import name
from pellucid.statistics import Interval

COLUMNS = 4
"""The most columns of figures that stand beside each other: more are cut off on paper."""
ROWS = 200
"""The most rows of a table; the rest is counted."""
PRIOR = "prior"


@dataclass(frozen=True)
class Cell:
    """A figure in words, and what it is counted on."""

    text: str | Markup
    of: str = ""


@dataclass(frozen=True)
class Line:
    """A row: its head, its cells, and a word that tells what it is, such as "prior"."""

    head: Markup
    cells: Sequence[Cell]
    tag: str = ""


@dataclass(frozen=True)
class Table:
    """A table with its caption. ``left_out`` is how many rows it does not show."""

    caption: str
    first: str
    columns: Sequence[str]
    lines: Sequence[Line]
    notes: Sequence[str] = ()
    left_out: int = field(default=0)

    @property
    def shared(self) -> Sequence[str]:
        """For each column, what all of its figures are counted on, if it is the same; "" where it differs."""
        return [_shared([line.cells[index].of for line in self.lines]) for index in range(len(self.columns))]


def _shared(each: Sequence[str]) -> str:
    known = set(filter(None, each))
    return known.pop() if len(known) == 1 else ""


def cell(found: Interval | None, unit: Unit, noun: str = "finding") -> Cell:
    """The cell of an estimate; a dash where there is none."""
    return Cell(NONE) if found is None else Cell(in_words(found, unit), of(found, unit, noun))


def matrix(
    caption: str,
    first: str,
    figures: Mapping[str, Mapping[str, Interval]],
    unit: Unit,
    *,
    priors: Sequence[str] = (),
) -> list[Table]:
    """Tables of ``figures[row][column]``, with at most four columns each."""
    columns = list(dict.fromkeys(column for row in figures.values() for column in row))
    parts = [columns[start : start + COLUMNS] for start in range(0, len(columns), COLUMNS)]
    return [
        cut(Table(caption, first, part, [_line(row, each, part, unit, priors) for row, each in figures.items()]))
        for part in parts
    ]


def _line(row: str, each: Mapping[str, Interval], columns: Sequence[str], unit: Unit, priors: Sequence[str]) -> Line:
    cells = [cell(each.get(column), unit) for column in columns]
    return Line(name(row), cells, PRIOR if row in priors else "")


def cut(table: Table) -> Table:
    """The table with its first rows only, if it has very many."""
    kept = table.lines[:ROWS]
    left_out = len(table.lines) - len(kept)
    return Table(table.caption, table.first, table.columns, kept, table.notes, left_out)
