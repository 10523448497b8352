"""``python -m benchmarks.verdicts``: what evaluations claim, in simulated studies of which the truth is known.

Each cell is 2000 studies with a seed of its own. The results are kept in docs/results/verdicts.json, and written as
docs/results/verdicts.md.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
import typer
from numpy.random import Generator

from benchmarks import results
from benchmarks.verdict_chain import direct
from benchmarks.verdict_studies import Study, drawn, exchangeable
from pellucid.evaluation.evaluation import Evaluation
from pellucid.evaluation.files import from_json, to_json
from pellucid.evaluation.judging import judged
from pellucid.evaluation.measured import Measured
from pellucid.evaluation.partners import partners
from pellucid.evaluation.plan import EvaluationPlan
from pellucid.statistics import Claim, wilson

NAME = "verdicts"
SEED = 2027
STUDIES, SHUFFLES, CALIBRATION = 2000, 200, 1000
PATIENTS = (25, 50, 200)
NARROW, WIDE = 0.1, 0.2
"""Standard deviations of the findings' positions, in sides of the image."""
GAIN = 0.2
HIGH = 0.8
METHOD, OTHER, PRIOR = "method", "other", "mean_mask"
PLAN = EvaluationPlan(methods=[METHOD])
Row = dict[str, str | int | float]
Made = Callable[[Generator], Measured]


@dataclass(frozen=True)
class Cell:
    """Studies of one kind: what is true of them, the claims that are counted, and whether those are false."""

    kind: str
    spread: float
    patients: int
    counted: tuple[Claim, ...]
    false: bool = True
    studies: int = STUDIES

    @property
    def name(self) -> str:
        """A key in the results."""
        return f"{self.kind}, spread {self.spread:g}, {self.patients} patients"

    @property
    def allowed(self) -> float:
        """The share of false claims that is within two standard errors of 5 %."""
        return 0.05 + 2 * math.sqrt(0.05 * 0.95 / self.studies)


def cells() -> Iterator[Cell]:
    """All cells."""
    for patients in PATIENTS:
        yield Cell("better", NARROW, patients, (Claim.BETTER,), false=False)
        yield Cell("equal", NARROW, patients, (Claim.BETTER,))
        yield Cell("exchangeable", NARROW, patients, (Claim.WORSE, Claim.BETTER))
        for spread in (NARROW, WIDE):
            yield Cell("shuffled", spread, patients, (Claim.BETTER, Claim.AS_GOOD))
            yield Cell("one study shuffled", spread, patients, (Claim.BETTER, Claim.AS_GOOD), studies=SHUFFLES)


def best_rate(patients: int, spread: float) -> float:
    """How often the mean mask of the other patients hits, on average: the best prior where positions are alike."""
    rng = np.random.default_rng([SEED, patients, round(100 * spread)])
    studies = (direct(drawn(patients, spread, {}, rng)) for _ in range(CALIBRATION))
    hits = np.concatenate([one.values["label"][PRIOR]["pointing_game"] for one in studies])
    return float(hits.mean())


def maker(cell: Cell) -> Made:
    """What makes a study of a cell and measures it."""
    return _MAKERS[cell.kind](cell)


def _with_rate(gain: float) -> Callable[[Cell], Made]:
    def of(cell: Cell) -> Made:
        rate = best_rate(cell.patients, cell.spread) + gain
        return lambda rng: direct(drawn(cell.patients, cell.spread, {METHOD: rate}, rng))

    return of


def _exchangeable(cell: Cell) -> Made:
    def made(rng: Generator) -> Measured:
        study = drawn(cell.patients, cell.spread, {}, rng)
        return as_prior(direct(exchangeable(study, (METHOD, OTHER), cell.spread, rng)))

    return made


def as_prior(measured: Measured) -> Measured:
    """The same scores, with those of the second method in place of the named prior's."""

    def moved(columns: dict[str, object]) -> dict[str, object]:
        return {PRIOR if name == OTHER else name: one for name, one in columns.items() if name != PRIOR}

    values = {target: moved(dict(methods)) for target, methods in measured.values.items()}
    return replace(measured, methods=(METHOD,), values=values, shuffled=moved(dict(measured.shuffled)))  # type: ignore[arg-type]


def _shuffled(cell: Cell) -> Made:
    return lambda rng: direct(shuffle(drawn(cell.patients, cell.spread, {METHOD: HIGH}, rng), rng))


def _one_shuffled(cell: Cell) -> Made:
    study = drawn(cell.patients, cell.spread, {METHOD: HIGH}, np.random.default_rng([SEED, cell.patients]))
    return lambda rng: direct(shuffle(study, rng))


def shuffle(study: Study, rng: Generator) -> Study:
    """A study with the mask column shuffled between patients."""
    return study.shuffled(partners(study.patients, int(rng.integers(2**31))))


_MAKERS: dict[str, Callable[[Cell], Made]] = {
    "better": _with_rate(GAIN),
    "equal": _with_rate(0.0),
    "exchangeable": _exchangeable,
    "shuffled": _shuffled,
    "one study shuffled": _one_shuffled,
}


def verdict_of(measured: Measured) -> Evaluation:
    """The evaluation, as it is read from its scores.json."""
    found = judged(measured, PLAN, planned=True, plan_digest=PLAN.digest)
    return from_json(to_json(found))


def simulated(cell: Cell, number: int) -> Row:
    """How often each claim is made in the studies of a cell."""
    made, rng = maker(cell), np.random.default_rng([SEED, number])
    claims: Counter[Claim] = Counter()
    controls: Counter[str] = Counter()
    for _ in range(cell.studies):
        found = verdict_of(made(rng))
        claims[next(row.verdict.claim for row in found.rows if row.verdict)] += 1
        controls.update(one.name for one in found.controls if one.shown)
    row: Row = {"kind": cell.kind, "spread": cell.spread, "patients": cell.patients, "studies": cell.studies}
    row |= {claim.name.lower(): claims[claim] for claim in Claim}
    return row | {f"control: {name}": count for name, count in sorted(controls.items())}


def page(found: dict[str, Row]) -> str:
    """The table, with what is above the allowed share."""
    rows = [(cell, found[cell.name]) for cell in cells() if cell.name in found]
    above = [_line(*one) for one in rows if one[0].false and _share(*one) > one[0].allowed]
    lines = [_line(*one) for one in rows]
    header = (
        "truth",
        "spread",
        "patients",
        "studies",
        "better",
        "worse",
        "as good",
        "not shown",
        "of interest",
        "allowed",
    )
    beyond = f"\n\n{results.table(header, above)}" if above else " none.\n"
    return f"{results.table(header, lines)}\nAbove what is allowed:{beyond}"


def _share(cell: Cell, row: Row) -> float:
    """The largest share of a claim that is counted."""
    return max(int(row[claim.name.lower()]) for claim in cell.counted) / cell.studies


def _line(cell: Cell, row: Row) -> tuple[str, ...]:
    counts = [int(row[name]) for name in ("better", "worse", "as_good", "not_shown")]
    largest = round(_share(cell, row) * cell.studies)
    low, high = wilson(largest, cell.studies)
    allowed = f"{cell.allowed:.3f}" if cell.false else ""
    shares = [f"{count / cell.studies:.3f}" for count in counts]
    about = (cell.kind, f"{cell.spread:g}", str(cell.patients), str(cell.studies))
    return (*about, *shares, f"{largest / cell.studies:.3f} ({low:.3f} to {high:.3f})", allowed)


def read() -> dict[str, Row]:
    """The results of earlier runs."""
    path = results.FOLDER / f"{NAME}.json"
    found: dict[str, Row] = json.loads(path.read_text()) if path.exists() else {}
    return found


def keep(found: dict[str, Row]) -> None:
    """Store the results so far, a cell a line."""
    lines = (f"{json.dumps(name)}: {json.dumps(row)}" for name, row in found.items())
    (results.FOLDER / f"{NAME}.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


def main(
    again: Annotated[bool, typer.Option(help="Simulate again what is stored.")] = False,
) -> None:
    """Simulate what is not stored yet (an hour on one core), and write docs/results/verdicts.md."""
    found = read()
    for number, cell in enumerate(cells()):
        if again or cell.name not in found:
            found[cell.name] = simulated(cell, number)
            keep(found)
            typer.echo(f"{cell.name}: {found[cell.name]}")
    results.write(NAME, page(found))


if __name__ == "__main__":
    typer.run(main)
