"""``python -m benchmarks.choices``: whether the pair that is chosen without masks finds what masks show.

The networks are those of ``choice_networks``, and beside them real ultrasound and mosaics of photographs. Weights and
bounds of the grade were fixed before the networks were trained.
"""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import torch
import typer

import pellucid
from benchmarks import results
from benchmarks.choice_judged import Outcome, judged
from benchmarks.choice_networks import FAMILIES, SEEDS, trained
from benchmarks.choice_page import page, plot, plot_growth
from benchmarks.choice_settings import memorised, mosaics, phantoms, redrawn, ultrasound
from benchmarks.choice_stability import Stability, stability
from benchmarks.unguided import TEST_SEED, TESTED
from benchmarks.unguided_networks import SIDE
from pellucid import phantom
from pellucid.phantom.training import measure

NAME = "choices"
STABILITY = "choices_stability"
REDRAWN = ("cnn", "vit", "swin")
"""The families that also get the same scenes without the finding."""
STABLE = ("cnn", 2)
"""The network whose choices are repeated on halves of images."""


def of_phantoms(family: str, seed: int) -> Outcome:
    """A network's choice beside the truth, with its AUC; also methods that ask for scores alone are tried."""
    network = trained(family, seed)
    auc = list(measure(network, phantom.radiographs(TESTED, SIDE, TEST_SEED)).auc)
    return replace(judged(phantoms(network), perturbing=True), auc=auc)


def of_scenes(family: str) -> Outcome:
    """A network's choice where the same scenes without the finding are among what replaces."""
    return judged(redrawn(trained(family, 2)), perturbing=False)


def of_halves() -> Stability:
    """How far the choice for one network depends on the images."""
    one = phantoms(trained(*STABLE), choosing=200, judging=500)
    return stability(one, images=100)


def read() -> dict[str, Outcome]:
    """The results of earlier runs."""
    path = results.FOLDER / f"{NAME}.json"
    return {name: Outcome.of(one) for name, one in json.loads(path.read_text()).items()} if path.exists() else {}


def keep(known: Mapping[str, Outcome]) -> None:
    """Store the results so far."""
    stored = {name: known[name].stored() for name in sorted(known)}
    (results.FOLDER / f"{NAME}.json").write_text(json.dumps(stored, separators=(",", ":")) + "\n")


def subjects(busi: Path | None) -> Iterator[tuple[str, Callable[[], Outcome]]]:
    """What is measured, by name."""
    for seed in SEEDS:
        for family in FAMILIES:
            yield f"{family}-{seed}", partial(of_phantoms, family, seed)
    for family in REDRAWN:
        yield f"{family}-2, redrawn", partial(of_scenes, family)
    yield "labels at random", lambda: judged(memorised(), perturbing=False)
    yield "mosaics", lambda: judged(mosaics(), perturbing=False)
    if busi is not None:
        yield "ultrasound", lambda: judged(ultrasound(busi), perturbing=False)


def main(
    busi: Annotated[Path | None, typer.Option(help="Folder with busi/ and the network trained on it.")] = None,
    only: Annotated[list[str] | None, typer.Option(help="Names of what is measured (default: all).")] = None,
) -> None:
    """Measure what has not been measured, and write the page with its plots."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", pellucid.PellucidWarning)
    for name, measured in subjects(busi):
        if name in read() or (only and name not in only):
            continue
        start = time.process_time()
        found = measured()
        keep({**read(), name: found})
        typer.echo(f"{name}: {found.reason} ({time.process_time() - start:.0f} s)")
    halves = results.FOLDER / f"{STABILITY}.json"
    if not halves.exists() and not only:
        halves.write_text(json.dumps(of_halves().stored()) + "\n")
    write(read(), Stability(**json.loads(halves.read_text())) if halves.exists() else None)


def write(known: Mapping[str, Outcome], halves: Stability | None) -> None:
    """Write the page and the plots."""
    images = Path(__file__).parents[1] / "docs" / "images"
    results.write(NAME, page(known, halves))
    plot(known, images / f"{NAME}.png")
    if halves is not None:
        plot_growth(halves, images / f"{NAME}_growth.png")


if __name__ == "__main__":
    typer.run(main)
