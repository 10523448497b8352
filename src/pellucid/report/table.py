"""The table of all maps, a row each, as CSV and as Parquet."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pellucid.core.optional import OptionalPackage
from pellucid.export.csv_file import csv_file
from pellucid.report.maps import AXES, Map

PYARROW = OptionalPackage("pyarrow", "parquet")
MADE_BY = "pellucid.report"
"""The key in a Parquet file's metadata that says who wrote it."""


@dataclass(frozen=True)
class Column:
    """A column: its name, the type of its values, and how to get one of a map; None and "" are empty cells."""

    name: str
    kind: type
    of: Callable[[Map], Any]


_FIRST = (
    Column("image", str, lambda one: one.image),
    Column("part", str, lambda one: one.part),
    Column("method", str, lambda one: one.method),
    Column("layers", str, lambda one: ", ".join(one.layers)),
    Column("class", int, lambda one: one.index),
    Column("class_name", str, lambda one: one.name),
    Column("probability", float, lambda one: one.probability),
    Column("value", float, lambda one: one.value),
    Column("predicted", bool, lambda one: one.predicted),
    Column("logit", float, lambda one: one.logit),
)
_EVIDENCE = (
    Column("evidence", float, lambda one: one.evidence),
    Column("degenerate", bool, lambda one: bool(one.degenerate)),
    Column("reason", str, lambda one: one.degenerate),
    Column("share", float, lambda one: one.share),
)
_LAST = (
    Column("label", str, lambda one: one.label),
    Column("patient", str, lambda one: one.patient),
    Column("split", str, lambda one: one.split),
    Column("model", str, lambda one: one.model),
    Column("overlay", str, lambda one: one.path_of(one.overlay)),
    Column("key", str, lambda one: one.key),
)


def columns(maps: Sequence[Map]) -> list[Column]:
    """The columns in their order: only those of the checks depend on the maps."""
    checks = sorted({name for one in maps for name in one.checks})
    return [*_FIRST, *map(_peak, AXES), *_EVIDENCE, *map(_check, checks), *_LAST]


def _peak(axis: str) -> Column:
    return Column(f"peak_{axis}", int, lambda one: one.position.get(axis))


def _check(name: str) -> Column:
    return Column(f"check_{name}", float, lambda one: one.checks.get(name))


def _csv(maps: Sequence[Map]) -> bytes:
    """The table as RFC 4180 has it, in UTF-8."""
    shown = columns(maps)
    return csv_file([one.name for one in shown], ([column.of(one) for column in shown] for one in maps))


def _parquet(maps: Sequence[Map]) -> bytes:
    """The table with typed columns; what is not known is null."""
    pyarrow = PYARROW.load("a Parquet table")
    from pyarrow import parquet  # the module of the same package

    types = {str: pyarrow.string(), int: pyarrow.int64(), float: pyarrow.float64(), bool: pyarrow.bool_()}
    shown = columns(maps)
    schema = pyarrow.schema([(one.name, types[one.kind]) for one in shown], metadata={MADE_BY: "1"})
    values = {one.name: [None if (v := one.of(row)) == "" else v for row in maps] for one in shown}
    file = io.BytesIO()
    parquet.write_table(pyarrow.table(values, schema=schema), file)
    return file.getvalue()


TABLES: Mapping[str, Callable[[Sequence[Map]], bytes]] = {"csv": _csv, "parquet": _parquet}
"""How a table is written, by the ending of its file."""
