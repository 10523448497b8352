"""``python -m benchmarks.statistics``: how often the intervals cover, and the verdicts are wrong, in simulated studies.

Each cell is 2000 studies, drawn with a seed of its own. Each result is kept in docs/results/statistics.json as soon as
it is known, so that a run that was stopped goes on; docs/results/statistics.md has all of them, and what falls short.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated

import typer

from benchmarks import alarms, coverage, results
from benchmarks.coverage import STUDIES, Cell, Row

NAME = "statistics"
SEED = 2026
TABLES: dict[str, Callable[[int], list[Cell]]] = {
    "proportions": coverage.proportions,
    "many cases": coverage.many_cases,
    "means": coverage.means,
    "differences": coverage.differences,
    "areas": coverage.areas,
    "all pairs": coverage.simultaneous,
    "equal rates": alarms.equal_rates,
    "margin": alarms.at_the_margin,
    "random prior": alarms.against_random,
    "power": alarms.power,
    "planned": alarms.planned,
}
ENOUGH = 0.93
ALLOWED = alarms.LEVEL + 2 * math.sqrt(alarms.LEVEL * (1 - alarms.LEVEL) / STUDIES)
FEWEST = 0.03
Tables = dict[str, list[Row]]


def text(value: str | float) -> str:
    """A cell of a table: three digits, without what is not there."""
    if isinstance(value, str | int):
        return str(value)
    return "—" if math.isnan(value) else f"{value:.3f}".rstrip("0").rstrip(".") if abs(value) < 1 else f"{value:g}"


def table(rows: Sequence[Row], columns: Sequence[str]) -> str:
    """A table of some columns."""
    return results.table(columns, [[text(row.get(column, "")) for column in columns] for row in rows])


def folded(title: str, content: str) -> str:
    """A table that opens on demand."""
    return f'<details markdown="1"><summary>{title}</summary>\n\n{content}\n</details>\n\n'


def listed(rows: Iterable[Row], columns: Sequence[str]) -> str:
    """Rows as a table, or that there are none."""
    found = list(rows)
    return f"\n\n{table(found, columns)}" if found else " none.\n"


def short(rows: Iterable[Row], enough: float = ENOUGH) -> list[Row]:
    """The rows whose intervals cover too rarely."""
    return [row for row in rows if float(row["coverage"]) < enough and float(row["withheld"]) < 1]


_DESIGN = ("patients", "cases")
_COVER = ("coverage", "below", "above", "withheld", "width")


def proportions(found: Tables) -> str:
    """Coverage and widths of proportions."""
    rows, beyond = found["proportions"], found["many cases"]
    columns = ("rate", "hits", *_DESIGN, *_COVER, "binomial", "wilson")
    least = min(float(row["coverage"]) for row in rows)
    smallest = min(float(row["coverage"]) for row in beyond)
    withheld = max(float(row["withheld"]) for row in [*rows, *beyond])
    return (
        f"**Proportions.** The least coverage of {len(rows)} cells is {least:.3f}; the share of intervals that are "
        f"withheld is {withheld:g}. *Below* and *above* count the intervals that lie wholly below, or above, the true "
        "rate. *Binomial* and *wilson* are mean widths of the exact binomial and the Wilson interval, which take "
        "cases to be independent. A patient's hit rate is of a beta distribution, or its hits are partly copies.\n\n"
        f"{table(rows, columns)}\n"
        f"Beyond these cells ({len(beyond)} more: 5 to 200 patients, up to 3, 10 or 30 cases each, correlation 0.5 or "
        f"0.9) the least coverage is {smallest:.3f}. Below {ENOUGH}:{listed(short(beyond), columns)}\n"
        + folded("All of these", table(beyond, columns))
    )


def intervals(found: Tables) -> str:
    """Coverage of the other intervals."""
    parts = {
        "means": ("Means of a metric", ("metric", *_DESIGN, *_COVER)),
        "differences": ("Differences of two hit rates", ("rates", "between", *_DESIGN, *_COVER)),
        "areas": ("Areas under the ROC curve", ("rate", "area", *_DESIGN, *_COVER)),
        "all pairs": (
            "All pairs of 15 methods, together",
            ("rates", "between", *_DESIGN, "coverage", "withheld", "width"),
        ),
    }
    return "".join(
        _part(title, found[name], columns) if name in found else f"**{title}** are not simulated yet.\n\n"
        for name, (title, columns) in parts.items()
    )


def _part(title: str, rows: Sequence[Row], columns: Sequence[str]) -> str:
    least = min(float(row["coverage"]) for row in rows if float(row["withheld"]) < 0.5)
    return (
        f"**{title}.** Where fewer than half of the intervals are withheld, the least coverage is {least:.3f}. "
        f"Below {ENOUGH}, of the intervals that are shown:{listed(short(rows), columns)}\n"
        + folded(f"All {len(rows)} cells", table(rows, columns))
    )


def verdicts(found: Tables) -> str:
    """False alarms of each family, and power."""
    equal, margin, prior = found["equal rates"], found["margin"], found["random prior"]
    claims = [
        (row, claim) for row in [*equal, *margin, *prior] for claim in ("better", "worse", "as good") if claim in row
    ]
    over = [{**row, "claim": claim, "share": row[claim]} for row, claim in claims if float(row[claim]) > ALLOWED]
    columns = ("claim", "share", "methods", "rate", "difference", "between", "method hits", *_DESIGN, "exact")
    single = [row for row in equal if row["methods"] == 1 and row["rate"] == 0.6]
    least = _least(row for row in single if float(row["patients"]) >= 50)
    of_few = _least(row for row in single if row["patients"] == 25 and row["cases"] != "1")
    rare = [row for row in equal if row["methods"] == 1 and min(float(row["better"]), float(row["worse"])) < FEWEST]
    rare_margin = [row for row in margin if row["methods"] == 1 and float(row["as good"]) < FEWEST]
    equal_columns = ("methods", "rate", "between", *_DESIGN, "better", "worse", "exact")
    margin_columns = ("methods", "rate", "difference", "between", *_DESIGN, "as good", "exact")
    return (
        f"**False alarms.** {len(claims)} shares of studies in which any method is claimed; at a level of 0.05, up to "
        f"{ALLOWED:.4f} (two standard errors above it) is allowed. Above it:{listed(over, columns)}\n"
        "With one method, one prior, a rate of 0.6 and at least 50 patients, the least share of a false claim is "
        f"{least:.3f}; with 50 cases, on average, of 25 patients it is {of_few:.3f}. Shares below {FEWEST}, "
        f"where few cases differ (*exact* is the sum over all tables):{listed(rare, equal_columns)}\n"
        f'"As good as", one method, fewer than {FEWEST}, as the interval of the difference is wider than the margin on '
        f"both sides:{listed(rare_margin, margin_columns)}\n"
        + folded("All cells of equal rates", table(equal, equal_columns))
        + folded("All cells at the margin", table(margin, margin_columns))
        + folded("The random prior", table(prior, ("rate", "method hits", "patients", "better", "worse")))
    )


def _least(rows: Iterable[Row]) -> float:
    return min(float(row[claim]) for row in rows for claim in ("better", "worse"))


def powers(found: Tables) -> str:
    """Power for stated differences, and for as many cases as are stated."""
    planned = found["planned"]
    reached = [float(row["power"]) for row in planned]
    return (
        "**Power**, one method against one prior that hits in 0.6; *better of 15* at Holm's strictest step among 15 "
        "methods.\n\n"
        f"{table(found['power'], ('difference', 'between', 'patients', 'better', 'better of 15', 'as good'))}\n"
        f"With as many cases as `cases_needed` states for a power of 0.8, {min(reached):.3f} to {max(reached):.3f} is "
        "reached.\n\n"
        + folded("All cells", table(planned, ("rate", "difference", "discordance", "level", "cases", "power")))
    )


def page(found: Tables) -> str:
    """All tables, with what falls short."""
    return proportions(found) + intervals(found) + verdicts(found) + powers(found).rstrip("\n") + "\n"


def read() -> Tables:
    """The results of earlier runs."""
    path = results.FOLDER / f"{NAME}.json"
    found: Tables = json.loads(path.read_text()) if path.exists() else {}
    return found


def keep(found: Tables) -> None:
    """Store the results so far, a cell a line."""
    parts = (
        f"{json.dumps(name)}: [\n" + ",\n".join(json.dumps(row) for row in found[name]) + "\n]"
        for name in TABLES
        if name in found
    )
    (results.FOLDER / f"{NAME}.json").write_text("{\n" + ",\n".join(parts) + "\n}\n")


def main(
    only: Annotated[
        list[str] | None, typer.Option(help=f"Simulate only: {', '.join(TABLES)}; may be repeated.")
    ] = None,
    again: Annotated[bool, typer.Option(help="Simulate again what is stored.")] = False,
) -> None:
    """Simulate what is not stored yet (50 minutes for all of it, on one core), and write docs/results/statistics.md."""
    found = read()
    for index, (name, cells) in enumerate(TABLES.items()):
        if not only or name in only:
            simulate(name, cells(SEED + index), {**found, name: [] if again else found.get(name, [])})
            found = read()
    results.write(NAME, page(found))


def simulate(name: str, cells: Sequence[Cell], found: Tables) -> None:
    """Simulate the cells of a table that are not stored yet, and store each."""
    rows = found[name]
    for cell in cells[len(rows) :]:
        rows.append(cell())
        keep(found)
        typer.echo(f"{name}: {len(rows)} of {len(cells)} cells")


if __name__ == "__main__":
    typer.run(main)
