"""``python -m benchmarks.choices``: whether the pair that is chosen without masks finds what masks show.

The networks are those of ``choice_networks``; weights and bounds of the grade were fixed before they were trained.
"""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
import typer

import pellucid
from benchmarks import results
from benchmarks.choice_judged import Outcome, judged
from benchmarks.choice_networks import FAMILIES, SEEDS, trained
from benchmarks.choice_page import page, plot
from benchmarks.choice_settings import phantoms
from benchmarks.unguided import TEST_SEED, TESTED
from benchmarks.unguided_networks import SIDE
from pellucid import phantom
from pellucid.phantom.training import measure

NAME = "choices"


def measured(family: str, seed: int) -> Outcome:
    """A network's choice beside the truth, with its AUC."""
    network = trained(family, seed)
    tested = phantom.radiographs(TESTED, SIDE, TEST_SEED)
    found = judged(phantoms(network), perturbing=seed == SEEDS[0])
    return Outcome(**{**found.__dict__, "auc": list(measure(network, tested).auc)})


def read() -> dict[str, Outcome]:
    """The results of earlier runs."""
    path = results.FOLDER / f"{NAME}.json"
    return {name: Outcome.of(one) for name, one in json.loads(path.read_text()).items()} if path.exists() else {}


def keep(known: dict[str, Outcome]) -> None:
    """Store the results so far."""
    stored = {name: known[name].stored() for name in sorted(known)}
    (results.FOLDER / f"{NAME}.json").write_text(json.dumps(stored, separators=(",", ":")) + "\n")


def main(seeds: Sequence[int] = SEEDS, families: Sequence[str] = tuple(FAMILIES)) -> None:
    """Measure what has not been measured, and write the page with its plots."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", pellucid.PellucidWarning)
    for seed in seeds:
        for family in families:
            known = read()
            if f"{family}-{seed}" not in known:
                start = time.perf_counter()
                found = measured(family, seed)
                keep({**read(), f"{family}-{seed}": found})
                typer.echo(f"{family} {seed}: {found.reason} ({time.perf_counter() - start:.0f} s)")
    write(read())


def write(known: dict[str, Outcome]) -> None:
    """Write the page and the plots."""
    results.write(NAME, page(known))
    plot(known, Path(__file__).parents[1] / "docs" / "images" / f"{NAME}.png")


if __name__ == "__main__":
    typer.run(main)
