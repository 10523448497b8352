"""``python -m benchmarks.oracles``: the metrics beside other libraries' on random cases, for docs/results/oracles.md.

Each file ``oracles_<family>.py`` beside this one has a function ``rows``. The libraries are in the environment of
``make bench``; what one of them cannot do is a row, too, with the reason.
"""

from __future__ import annotations

import math
import pkgutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from benchmarks import results

NAME = "oracles"
CASES = 100
"""The number of random images, or pairs of maps."""


@dataclass(frozen=True)
class Compared:
    """A metric beside another library's: the largest difference over the cases, and who is right where they differ."""

    metric: str
    oracle: str
    cases: int
    difference: float
    remark: str = "equal"


def largest(ours: Iterable[float], theirs: Iterable[float]) -> float:
    """The largest difference: none where both have no value, infinite where one has none."""
    return max(_difference(one, other) for one, other in zip(ours, theirs, strict=True))


def _difference(one: float, other: float) -> float:
    if math.isnan(one) or math.isnan(other):
        return 0.0 if math.isnan(one) and math.isnan(other) else math.inf
    return abs(one - other)


def families() -> Iterator[str]:
    """The files that compare a family of metrics."""
    here = [str(Path(__file__).parent)]
    return (module.name for module in pkgutil.iter_modules(here) if module.name.startswith(f"{NAME}_"))


def page(rows: Sequence[Compared]) -> str:
    """The table."""
    header = ("metric", "beside", "cases", "largest difference", "")
    lines = [(row.metric, row.oracle, str(row.cases), f"{row.difference:.1e}", row.remark) for row in rows]
    return results.table(header, lines)


def main(write: Annotated[bool, typer.Option(help="Write docs/results/oracles.md.")] = True) -> None:
    """Compare, print, and write the table."""
    rows: list[Compared] = []
    for family in families():
        for row in import_module(f"benchmarks.{family}").rows():
            typer.echo(f"{row.metric} beside {row.oracle}: {row.difference:.1e} ({row.remark})")
            rows.append(row)
    if write:
        results.write(NAME, page(rows))


if __name__ == "__main__":
    typer.run(main)
