"""``python -m benchmarks.verdicts``: what evaluations claim, in simulated studies of which the truth is known.

Each cell has a seed of its own. The results are kept in docs/results/verdicts.json, and written as
docs/results/verdicts.md.
"""

from __future__ import annotations

import itertools
import json
import math
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated
from zlib import crc32

import numpy as np
import typer
from numpy.random import Generator

from benchmarks import results
from benchmarks.verdict_chain import command, direct, through_files, write
from benchmarks.verdict_studies import Study, drawn, exchangeable
from pellucid.evaluation.data.reading import read_data
from pellucid.evaluation.evaluation import Evaluation
from pellucid.evaluation.files import JSON, from_json, to_json
from pellucid.evaluation.judging.judging import judged
from pellucid.evaluation.measured import Column, Measured
from pellucid.evaluation.plan import EvaluationPlan
from pellucid.evaluation.scoring.partners import partners
from pellucid.evaluation.whole import evaluate_data
from pellucid.statistics import Claim
from pellucid.statistics.distributions import clopper_pearson

NAME, PROCESSES = "verdicts", "processes"
SEED = 2027
STUDIES, FEWER, SHUFFLES, CALIBRATION, RUNS = 2000, 500, 200, 1000, 50
PATIENTS = (25, 50, 200)
NARROW, WIDE = 0.1, 0.2
"""Standard deviations of the findings' positions, in sides of the image."""
GAIN, HIGH = 0.2, 0.8
SHUFFLED = ("shuffled", "one study shuffled")
METHOD, OTHER, PRIOR = "method", "other", "mean_mask"
PLAN = EvaluationPlan(methods=[METHOD])
THROUGH: Mapping[str, Callable[[Study], Measured]] = {"files": through_files, "arrays": direct}
Row = dict[str, str | int | float]
Maker = Callable[[Generator], Study]


@dataclass(frozen=True)
class Cell:
    """Studies of one kind, whether they go through files, and the claims that are counted; ``false``: none is true."""

    kind: str
    spread: float
    patients: int
    counted: tuple[Claim, ...]
    false: bool = True
    studies: int = STUDIES
    through: str = "arrays"

    @property
    def name(self) -> str:
        """A key in the results."""
        return f"{self.kind}, spread {self.spread:g}, {self.patients} patients, {self.through}"

    @property
    def allowed(self) -> float:
        """The share of false claims that is within two standard errors of 5 %."""
        return 0.05 + 2 * math.sqrt(0.05 * 0.95 / self.studies)


def cells() -> Iterator[Cell]:
    """All cells: 2000 studies of four kinds through files, then those of each kind, size and spread from arrays."""
    for cell in _kinds():
        yield replace(cell, patients=PATIENTS[0], through="files", studies=min(cell.studies, FEWER))
    for patients, spread in itertools.product(PATIENTS, (NARROW, WIDE)):
        for cell in _kinds():
            studies = cell.studies if patients < PATIENTS[-1] else min(cell.studies, FEWER)
            if spread == NARROW or cell.kind in (*SHUFFLED, "equal"):
                yield replace(cell, patients=patients, spread=spread, studies=studies)


def _kinds() -> Iterator[Cell]:
    yield Cell("equal", NARROW, 0, (Claim.BETTER, Claim.WORSE))
    yield Cell("better", NARROW, 0, (Claim.BETTER,), false=False)
    for kind, studies in zip(SHUFFLED, (STUDIES, SHUFFLES), strict=True):
        yield Cell(kind, NARROW, 0, (Claim.BETTER, Claim.AS_GOOD), studies=studies)
    yield Cell("exchangeable", NARROW, 0, (Claim.WORSE, Claim.BETTER))


def best_rate(patients: int, spread: float) -> float:
    """How often the mean mask of the other patients hits, on average: the best prior where positions are alike."""
    rng = np.random.default_rng([SEED, patients, round(100 * spread)])
    studies = (direct(drawn(patients, spread, {}, rng)) for _ in range(CALIBRATION))
    return float(np.concatenate([one.values["label"][PRIOR]["pointing_game"] for one in studies]).mean())


def _with_rate(gain: float) -> Callable[[Cell], Maker]:
    def of(cell: Cell) -> Maker:
        rate = best_rate(cell.patients, cell.spread) + gain
        return lambda rng: drawn(cell.patients, cell.spread, {METHOD: rate}, rng)

    return of


def _exchangeable(cell: Cell) -> Maker:
    def made(rng: Generator) -> Study:
        return exchangeable(drawn(cell.patients, cell.spread, {}, rng), (METHOD, OTHER), cell.spread, rng)

    return made


def _shuffled(cell: Cell) -> Maker:
    return lambda rng: shuffle(drawn(cell.patients, cell.spread, {METHOD: HIGH}, rng), rng)


def _one_shuffled(cell: Cell) -> Maker:
    study = drawn(cell.patients, cell.spread, {METHOD: HIGH}, np.random.default_rng([SEED, cell.patients]))
    return lambda rng: shuffle(study, rng)


def shuffle(study: Study, rng: Generator) -> Study:
    """A study with the mask column shuffled between patients."""
    return study.shuffled(partners(study.patients, int(rng.integers(2**31))))


MAKERS: Mapping[str, Callable[[Cell], Maker]] = {
    "better": _with_rate(GAIN),
    "equal": _with_rate(0.0),
    "exchangeable": _exchangeable,
    "shuffled": _shuffled,
    "one study shuffled": _one_shuffled,
}


def as_prior(measured: Measured) -> Measured:
    """The same scores, with those of a second method, where there is one, in place of the named prior's."""
    if OTHER not in measured.methods:
        return measured
    values = {
        target: {name: methods[OTHER] if name == PRIOR else one for name, one in methods.items() if name != OTHER}
        for target, methods in measured.values.items()
    }
    shuffled = {name: _moved(measured.shuffled, name) for name in measured.shuffled if name != OTHER}
    return replace(measured, methods=(METHOD,), values=values, shuffled=shuffled, overlaps={})


def _moved(columns: Mapping[str, Column], name: str) -> Column:
    return columns[OTHER if name == PRIOR else name]


def evaluated(measured: Measured) -> Evaluation:
    """The evaluation, as it is read from its scores.json."""
    return from_json(to_json(judged(as_prior(measured), PLAN, planned=True, plan_digest=PLAN.digest)))


def simulated(cell: Cell) -> Row:
    """How often each claim is made in the studies of a cell, and how often a control shows something."""
    made, through, rng = (
        MAKERS[cell.kind](cell),
        THROUGH[cell.through],
        np.random.default_rng([SEED, crc32(cell.name.encode())]),
    )
    claims: Counter[Claim] = Counter()
    controls: Counter[str] = Counter()
    for _ in range(cell.studies):
        found = evaluated(through(made(rng)))
        claims[next(row.verdict.claim for row in found.rows if row.verdict)] += 1
        controls.update(one.name for one in found.controls if one.shown)
    row: Row = {"studies": cell.studies, **{claim.name.lower(): claims[claim] for claim in Claim}}
    return row | {f"control: {name}": count for name, count in sorted(controls.items())}


def processes(patients: int = 25) -> Row:
    """Studies that are evaluated by the command, in a process each: how many have the scores.json of this process."""
    rng, same = np.random.default_rng([SEED, RUNS]), 0
    claims: Counter[Claim] = Counter()
    for run in range(RUNS):
        study = drawn(patients, NARROW, {METHOD: (HIGH, 0.6)[run % 2]}, rng)
        with TemporaryDirectory() as name:
            folder = Path(name)
            data = read_data(write(study, folder), maps={METHOD: folder / "maps" / METHOD})
            found = evaluate_data(data, EvaluationPlan.of(folder / "plan.toml"), folder=folder / "here")
            line = [sys.executable, "-m", "pellucid", *command(folder, study.maps, folder / "there")]
            subprocess.run(line, check=True, capture_output=True)  # noqa: S603  # this interpreter, on files made here
            same += (folder / "here" / JSON).read_bytes() == (folder / "there" / JSON).read_bytes()
        claims[next(row.verdict.claim for row in found.rows if row.verdict)] += 1
    return {"studies": RUNS, "same": same, **{claim.name.lower(): claims[claim] for claim in Claim}}


def page(found: Mapping[str, Row]) -> str:
    """The table, with what is above the allowed share."""
    rows = [(cell, found[cell.name]) for cell in cells() if cell.name in found]
    lines = [_line(*one) for one in rows]
    above = [_line(*one) for one in rows if one[0].false and _largest(*one) > one[0].allowed * one[0].studies]
    header = ("truth", "from", "spread", "patients", "studies", *_COLUMNS, "largest that counts", "allowed")
    beyond = f"\n\n{results.table(header, above)}" if above else " none.\n"
    run = found.get(PROCESSES)
    text = f"{run['same']} of {run['studies']} have the same scores.json, to the byte." if run else "Not run yet."
    return (
        f"{results.table(header, lines)}\nAbove what is allowed:{beyond}\nThrough the command, as a process: {text}\n"
    )


_COLUMNS = ("better", "worse", "as good", "not shown")


def _largest(cell: Cell, row: Row) -> int:
    """The largest count of a claim that counts."""
    return max(int(row[claim.name.lower()]) for claim in cell.counted)


def _line(cell: Cell, row: Row) -> tuple[str, ...]:
    counts = [int(row[name.replace(" ", "_")]) for name in _COLUMNS]
    largest = _largest(cell, row)
    low, high = clopper_pearson(largest, cell.studies)
    about = (cell.kind, cell.through, f"{cell.spread:g}", str(cell.patients), str(cell.studies))
    shares = [f"{count / cell.studies:.3f}" for count in counts]
    interval = f"{largest / cell.studies:.3f} ({low:.3f} to {high:.3f})"
    return (*about, *shares, interval, f"{cell.allowed:.3f}" if cell.false else "")


def read() -> dict[str, Row]:
    """The results of earlier runs."""
    path = results.FOLDER / f"{NAME}.json"
    found: dict[str, Row] = json.loads(path.read_text()) if path.exists() else {}
    return found


def keep(name: str, row: Row) -> None:
    """Add a cell to the stored results, a line each."""
    found = {**read(), name: row}
    lines = (f"{json.dumps(name)}: {json.dumps(row)}" for name, row in sorted(found.items()))
    (results.FOLDER / f"{NAME}.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


def main(
    through: Annotated[list[str] | None, typer.Option(help=f"Only: {', '.join(THROUGH)}, {PROCESSES}.")] = None,
    again: Annotated[bool, typer.Option(help="Simulate again what is stored.")] = False,
) -> None:
    """Simulate what is not stored yet (an hour and a half on one core), and write docs/results/verdicts.md."""
    for cell in cells():
        if (not through or cell.through in through) and (again or cell.name not in read()):
            keep(cell.name, simulated(cell))
            typer.echo(f"{cell.name}: {read()[cell.name]}")
    if (not through or PROCESSES in through) and (again or PROCESSES not in read()):
        keep(PROCESSES, processes())
    results.write(NAME, page(read()))


if __name__ == "__main__":
    typer.run(main)
