"""Stores the results of benchmarks as JSON between runs, and writes them as tables for the documentation."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pellucid.statistics.distributions import clopper_pearson

FOLDER = Path(__file__).parents[1] / "docs" / "results"
Counts = dict[str, list[int]]
"""Hits and the number of maps, by what was measured."""


def read(name: str) -> Counts:
    """The results of earlier runs."""
    path = FOLDER / f"{name}.json"
    found: Counts = json.loads(path.read_text()) if path.exists() else {}
    return found


def keep(name: str, counts: Counts) -> None:
    """Store the results so far."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    ordered = {key: counts[key] for key in sorted(counts)}
    (FOLDER / f"{name}.json").write_text(json.dumps(ordered, indent=1) + "\n")


def write(name: str, text: str) -> None:
    """Write a part of a page."""
    (FOLDER / f"{name}.md").write_text(text)


def write_csv(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write the figures behind a table or a plot."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table: the first column is text, the others are numbers."""
    rule = ["---"] + ["---:"] * (len(header) - 1)
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (header, rule, *rows))


def share(hits: int, count: int) -> str:
    """A proportion with its exact 95 % interval, in percent, as if each case were of a patient of its own."""
    low, high = clopper_pearson(hits, count)
    return f"{100 * hits / count:.1f} % ({100 * low:.0f}–{100 * high:.0f})" if count else "—"
