"""``python -m benchmarks.judged NAME FOLDER``: an evaluation as a table for the documentation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from benchmarks import results
from pellucid.evaluation.evaluation import Evaluation, Row
from pellucid.evaluation.files import JSON, from_json
from pellucid.statistics import Claim, Interval

WORDS = {
    Claim.BETTER: "better than every prior (closest: {0.prior}, by {0.difference.estimate:.2f})",
    Claim.WORSE: "worse than {0.prior} (by {0.difference.estimate:.2f})",
    Claim.AS_GOOD: "as good as {0.prior}",
    Claim.NOT_SHOWN: "better than {0.prior} is not shown; {0.plan.detectable:g} would need {0.cases_needed} findings",
}


def page(found: Evaluation) -> str:
    """The model on these cases, and a row for each method and prior, the best first."""
    return f"{_model(found)}\n\n{results.table(_header(found), _rows(found))}\n{_controls(found)}"


def _model(found: Evaluation) -> str:
    flow = found.flow
    each = [f"{one.name} {_interval(one.auc)}" for one in found.quality if one.auc is not None]
    return (
        f"{flow.findings} findings in {flow.images - flow.lesion_free} images, {flow.lesion_free} images without one, "
        f"{flow.patients} patients. The model's AUC: {', '.join(each)}."
    )


def _header(found: Evaluation) -> tuple[str, ...]:
    others = list(dict.fromkeys(name for row in found.rows for name in row.figures["label"]))
    heat = ("heat above .5 without a finding",) if found.heat else ()
    return ("", found.primary, "what it shows", *(name for name in others if name != found.primary), *heat)


def _rows(found: Evaluation) -> Iterator[tuple[str, ...]]:
    others = _header(found)[3:]
    for row in sorted(found.rows, key=lambda one: -one.figures["label"][found.primary].estimate):
        own = row.figures["label"]
        heat = found.heat.get(row.method, {}).get("area")
        figures = [own[name].estimate if name in own else _estimate(heat) for name in others]
        name = f"*{row.method}*" if row.is_prior else f"`{row.method}`"
        yield (name, _interval(own[found.primary]), _claim(row), *(f"{value:.2f}" for value in figures))


def _estimate(found: Interval | None) -> float:
    return float("nan") if found is None else found.estimate


def _claim(row: Row) -> str:
    if row.is_prior or row.verdict is None:
        return "a prior" if row.is_prior else row.no_verdict or ""
    return WORDS[row.verdict.claim].format(row.verdict)


def _interval(found: Interval) -> str:
    bounds = "" if found.withheld is not None else f" ({found.low:.2f}–{found.high:.2f})"
    return f"{found.estimate:.2f}{bounds}"


def _controls(found: Evaluation) -> str:
    each = [f"{one.name}: {', '.join(one.shown) or 'none'}" for one in found.controls]
    return f"\nBetter than, or as good as, priors in the negative controls: {'; '.join(each)}.\n" if each else ""


def main(
    name: Annotated[str, typer.Argument(help="Name of the page in docs/results.")],
    folder: Annotated[Path, typer.Argument(help="Folder that `pellucid evaluate` wrote.")],
) -> None:
    """Write docs/results/NAME.md."""
    results.write(name, page(from_json((folder / JSON).read_bytes())))


if __name__ == "__main__":
    typer.run(main)
