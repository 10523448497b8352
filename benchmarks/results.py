"""What a benchmark found: kept as JSON between runs, written as a table for the documentation."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pellucid.metrics.statistics import wilson

FOLDER = Path(__file__).parents[1] / "docs" / "results"
Counts = dict[str, list[int]]
"""Hits and how many there could have been, by what was measured."""


def read(name: str) -> Counts:
    """What earlier runs found."""
    path = FOLDER / f"{name}.json"
    found: Counts = json.loads(path.read_text()) if path.exists() else {}
    return found


def keep(name: str, counts: Counts) -> None:
    """Write what was found so far."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    ordered = {key: counts[key] for key in sorted(counts)}
    (FOLDER / f"{name}.json").write_text(json.dumps(ordered, indent=1) + "\n")


def write(name: str, text: str) -> None:
    """Write a page's part."""
    (FOLDER / f"{name}.md").write_text(text)


def write_csv(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write figures that a table or a plot is made of."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; the first column is text, the others are figures."""
    rule = ["---"] + ["---:"] * (len(header) - 1)
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (header, rule, *rows))


def share(hits: int, count: int) -> str:
    """A proportion and its interval, in percent."""
    low, high = wilson(hits, count)
    return f"{100 * hits / count:.1f} % ({100 * low:.0f}–{100 * high:.0f})" if count else "—"
