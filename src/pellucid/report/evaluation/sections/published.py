"""The figures of a published recipe, a table for each method."""

from __future__ import annotations

from collections.abc import Iterator

from pellucid.errors import counted
from pellucid.evaluation.evaluation import Evaluation
from pellucid.evaluation.protocols.chexlocalize import Protocol, PublishedInterval
from pellucid.report.evaluation.numbers import NONE, rounded
from pellucid.report.evaluation.tables import COLUMNS, Cell, Line, Table, cut
from pellucid.report.evaluation.wording import name


def published_tables(evaluation: Evaluation) -> list[Table]:
    """The figures by label, with the recipe's own intervals and its caution."""
    return [table for method, protocol in evaluation.protocols.items() for table in _tables(method, protocol)]


def _tables(method: str, protocol: Protocol) -> Iterator[Table]:
    labels = list(dict.fromkeys(label for figures in protocol.figures.values() for label in figures))
    notes = [*protocol.notes, *(f"{figure}: {what}." for figure, what in protocol.definitions.items())]
    for start in range(0, len(labels), COLUMNS):
        part = labels[start : start + COLUMNS]
        lines = [
            Line(name(figure), [_cell(figures.get(label)) for label in part])
            for figure, figures in protocol.figures.items()
        ]
        caption = f"{method} by the recipe of {protocol.name}, {counted(protocol.images, 'image')}"
        yield cut(Table(caption, "Figure", part, lines, tuple(notes)))


def _cell(found: PublishedInterval | None) -> Cell:
    if found is None or found.mean != found.mean:
        return Cell(NONE)
    return Cell(f"{rounded(found.mean)} ({rounded(found.low)} to {rounded(found.high)})", counted(found.count, "image"))
