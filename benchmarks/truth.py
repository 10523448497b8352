"""``python -m benchmarks.truth``: methods and priors on drawn radiographs, by where maps are and by what scores do.

The networks learnt from labels alone. Their cases are those of ``benchmarks.phantoms``: findings that are present and
detected. The primary endpoint, named before any was measured, is the hit of the peak, at most half a cell beside the
finding; "better" is better than every prior, "worse" and "as good as" are against the mean mask, which is made from
other radiographs. All other columns are exploratory. An image with two findings is one patient.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from torch import Tensor

import pellucid
from benchmarks import results
from benchmarks.phantoms import FEWER, SPLITS, Found, cases, drawn, maps
from pellucid import phantom
from pellucid.core.method import Method
from pellucid.core.metric import Metric
from pellucid.demo.study import HALF_A_CELL, Network, networks
from pellucid.metrics import (
    AUPRC,
    Deletion,
    Insertion,
    IoU,
    LesionCoverage,
    PointingGame,
    RelevanceMass,
)
from pellucid.phantom.models import UNGUIDED
from pellucid.priors import MeanMask, Random
from pellucid.run.explainer import Explainer
from pellucid.statistics import Claim, Plan, kendall, mean, proportion, ranks, verdicts

NAME = "truth"
PRIORS = ("random", "centre", "edges", "darkest", "brightest", "mean_mask")
NAMED = "mean_mask"
"""The prior that "worse" and "as good as" are about."""
VALIDATION = (200, 70_000_000)
"""The images whose masks make the mean mask: their number, and their seed."""
FEW = 20
"""The first so many images are those on which scores are measured, which takes passes for every step."""
STEPS = 10
FEWER_DRAWS: Mapping[str, Method] = {"random": Random(draws=5)}
"""Scores of 100 random maps would take longer than those of all methods together."""
LOCALISATION: Mapping[str, Metric] = {
    "hit, half a cell": PointingGame(tolerance=HALF_A_CELL),
    "hit, exact": PointingGame(),
    "mass in the finding": RelevanceMass(),
    "IoU": IoU(),
    "AUPRC": AUPRC(),
    "coverage": LesionCoverage(),
}
FAITHFULNESS: Mapping[str, Metric] = {
    "deletion, blur": Deletion(steps=STEPS, baseline="blur"),
    "deletion, mean": Deletion(steps=STEPS, baseline="mean"),
    "insertion, blur": Insertion(steps=STEPS, baseline="blur"),
}
PRIMARY = "hit, half a cell"
Stored = dict[str, dict[str, Any]]
"""By network: "images", each case's image; and by method or prior each metric's values."""


def read() -> Stored:
    """The results of earlier runs."""
    path = results.FOLDER / f"{NAME}.json"
    found: Stored = json.loads(path.read_text()) if path.exists() else {}
    return found


def keep(stored: Stored) -> None:
    """Store the results so far, with four digits."""
    text = json.dumps(stored)
    rounded = json.loads(text, parse_float=lambda number: round(float(number), 4))
    lines = json.dumps(rounded, indent=1)
    (results.FOLDER / f"{NAME}.json").write_text(_compact(lines) + "\n")


def _compact(text: str) -> str:
    """JSON whose lists of numbers are one line each."""
    kept: list[str] = []
    for line in text.splitlines():
        number = line.strip().rstrip(",")
        if kept and (number == "]" or not number.startswith(('"', "{", "}"))) and not kept[-1].endswith(("{", "},")):
            kept[-1] += line.strip()
        else:
            kept.append(line)
    return "\n".join(kept)


def measured(
    network: Network, found: Found, what: Tensor | str | Method, metrics: Mapping[str, Metric]
) -> dict[str, list[float]]:
    """The values of some maps, or of a prior, by metric."""
    scores = pellucid.evaluate(
        network.model,
        found.images,
        what,
        targets=found.finding,
        masks=found.masks,
        metrics=list(metrics.values()),
    )
    return {name: column[:, 0].tolist() for name, column in zip(metrics, scores.values.values(), strict=True)}


def first(found: Found, images: int) -> Found:
    """The cases of the first images."""
    count = int((found.number < images).sum())
    return Found(found.images[:count], found.finding[:count], found.number[:count], found.masks[:count])


def mean_mask() -> MeanMask:
    """The prior made from the masks of other radiographs."""
    count, seed = VALIDATION
    made = phantom.radiographs(count, seed=seed)
    return MeanMask(made.masks[made.labels])


def work(
    folder: Path | None, stored: Stored, methods: list[str]
) -> Iterator[tuple[str, str, Network, Found, Tensor | str]]:
    """Each network, method or prior, its cases and its maps; what was measured is left out."""
    prior = mean_mask()
    for name, network in zip(UNGUIDED, networks(tuple(UNGUIDED), methods), strict=True):
        found = cases(network, drawn(SPLITS["unguided"], network))
        own = stored.setdefault(name, {"images": found.number.tolist()})
        for method in (*PRIORS, *network.methods):
            if method not in own:
                yield name, method, network, found, _maps(folder, name, network, found, method, prior)


def _maps(folder: Path | None, name: str, network: Network, found: Found, method: str, prior: MeanMask) -> Tensor | str:
    """The heatmaps of a method, those that ``benchmarks.phantoms`` kept if there are any; the name of a prior."""
    if method in PRIORS and method != NAMED:
        return method
    path = None if folder is None else folder / f"unguided {name} {method}.npy"
    if path is not None and path.is_file():
        return torch.from_numpy(np.load(path)).float()
    chosen: str | Method = prior if method == NAMED else FEWER.get(method, method)
    return maps(Explainer(network.model, chosen), found)


def page(stored: Stored) -> str:
    """A section for each network: what the primary endpoint shows in words, and the figures."""
    return "\n".join(_section(name, own) for name, own in stored.items())


def _section(name: str, own: dict[str, Any]) -> str:
    images = own["images"]
    few = [image for image in images if image < FEW]
    rows = {method: values for method, values in own.items() if method != "images"}
    claims = _claims(rows, images)
    order = sorted(rows, key=lambda method: -float(np.nanmean(rows[method][PRIMARY])))
    header = ("", "primary: hit, half a cell", "what it shows", *list(LOCALISATION)[1:], *FAITHFULNESS)
    table = results.table(
        header,
        (
            (
                f"*{method}*" if method in PRIORS else f"`{method}`",
                _hits(rows[method][PRIMARY], images, method),
                claims.get(method, "a prior"),
                *(f"{np.nanmean(rows[method][metric]):.2f}" for metric in list(LOCALISATION)[1:]),
                *(f"{np.nanmean(rows[method][metric]):.2f}" for metric in FAITHFULNESS if metric in rows[method]),
            )
            for method in order
        ),
    )
    tau = kendall(
        *([_mean(rows[method][metric]) for method in order] for metric in ("deletion, blur", "deletion, mean"))
    )
    title = UNGUIDED[name].title
    return (
        f"**{title[0].upper()}{title[1:]}**: {len(images)} findings in {len(set(images))} radiographs; scores on the "
        f"{len(few)} findings of the first {FEW}. Priors are in italics.\n\n{table}\n"
        f"The two baselines of deletion rank methods and priors with Kendall's τ = {tau.tau:.2f}. "
        f"{_spread(rows)}\n"
    )


def _mean(values: list[float]) -> float:
    return float(np.nanmean(values))


def _hits(values: list[float], images: list[int], method: str) -> str:
    """The mean with its interval: of hits, or of the probabilities of a hit."""
    if method == "random":
        found = mean(values, images, generator=np.random.default_rng(0))
    else:
        found = proportion(values, images)
    return f"{found.estimate:.2f}" if found.withheld else f"{found.estimate:.2f} ({found.low:.2f}–{found.high:.2f})"


def _claims(rows: Mapping[str, dict[str, list[float]]], images: list[int]) -> dict[str, str]:
    methods = {name: values[PRIMARY] for name, values in rows.items() if name not in PRIORS}
    priors = {name: rows[name][PRIMARY] for name in PRIORS}
    found = verdicts(methods, priors, Plan(NAMED), generator=np.random.default_rng(0), patients=images)
    words = {
        Claim.BETTER: "better than every prior (closest: {0.prior}, by {0.difference.estimate:.2f})",
        Claim.WORSE: "worse than {0.prior} (by {0.difference.estimate:.2f})",
        Claim.AS_GOOD: "as good as {0.prior}",
        Claim.NOT_SHOWN: "better than {0.prior} is not shown; {0.plan.detectable:g} would need {0.cases_needed} cases",
    }
    return {one.method: words[one.claim].format(one) for one in found}


def _spread(rows: Mapping[str, dict[str, list[float]]]) -> str:
    """The methods whose ranks differ most between the metrics."""
    better = {**LOCALISATION, **FAITHFULNESS}
    signs = {name: -1 if metric.better == "lower" else 1 for name, metric in better.items()}
    table = {name: {method: signs[name] * _mean(values[name]) for method, values in rows.items()} for name in signs}
    widest = sorted(ranks(table), key=lambda one: one.best - one.worst)[:3]
    text = ", ".join(f"`{one.method}` {one.best:g} to {one.worst:g}" for one in widest)
    return f"Ranks among {len(rows)} differ between the metrics, most for {text}."


def main(
    folder: Annotated[Path | None, typer.Option("--maps", help="Maps that benchmarks.phantoms kept.")] = None,
    method: Annotated[list[str] | None, typer.Option(help="Measure only this method; may be repeated.")] = None,
) -> None:
    """Measure what has not been measured, and write docs/results/truth.md."""
    stored = read()
    for name, chosen, network, found, what in work(folder, stored, method or pellucid.available_methods()):
        part = first(found, FEW)
        few = what[: len(part.images)] if isinstance(what, Tensor) else FEWER_DRAWS.get(what, what)
        stored[name][chosen] = {
            **measured(network, found, what, LOCALISATION),
            **measured(network, part, few, FAITHFULNESS),
        }
        keep(stored)
        typer.echo(f"{name} {chosen}: {_mean(stored[name][chosen][PRIMARY]):.3f}")
    results.write(NAME, page(stored))


if __name__ == "__main__":
    typer.run(main)
