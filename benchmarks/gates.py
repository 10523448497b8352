"""``python -m benchmarks.gates FOLDER``: which methods, at which layers, tell a trained network from a random one.

The criterion is ``docs/gates.md``, written before the first run. FOLDER holds networks of other seeds. Each pair of
method and layer is a cell; cells that were measured are kept, and a run that was interrupted goes on. The outcome is
written to docs/results, and to ``pellucid/core/gates.json``, which the lists of methods show.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from torch import Tensor

import pellucid
from benchmarks import gates_page, results
from benchmarks.gates_decided import Maps, Values, averaged, missing, resemblances, rise
from benchmarks.gates_networks import Candidate, check_learnt
from pellucid.core import catalogue, gates
from pellucid.core.method import Method
from pellucid.demo.study import networks
from pellucid.errors import OptionError
from pellucid.phantom.models import EXCLUSIVE, UNGUIDED

NAME = "gates"
CASCADED = 10
"""The images of cascading randomisation, which takes a map for every layer of the network."""
LAST = ("smoothgrad", "smoothgrad_squared", "vargrad", "integrated_gradients", "ablationcam", "scorecam", "occlusion")
LAST_OF_ALL = ("rise",)
"""What takes long is measured last."""
Stored = dict[str, dict[str, Any]]
"""By network: "areas", and "cells" by method and place."""


@dataclass(frozen=True, eq=False)
class Cell:
    """A method at some layers of a network; ``place`` says which, and ``layers`` is None for a method without."""

    method: Method
    place: str
    layers: tuple[str, ...] | None

    @property
    def key(self) -> str:
        """What the cell is stored under."""
        return f"{self.method.name}/{self.place}"


def cells(candidate: Candidate, methods: list[str]) -> Iterator[Cell]:
    """The pairs of a network, for the methods that apply to it."""
    [network] = networks((candidate.name,), methods)
    for name in sorted(network.methods, key=lambda one: (one in LAST_OF_ALL, LAST.index(one) if one in LAST else -1)):
        method = catalogue.find(name)()
        if not method.uses_layers:
            yield Cell(method, gates.WHOLE, None)
            continue
        yield Cell(method, gates.FOUND, candidate.found(method))
        for place, layer in candidate.stages().items():
            yield Cell(method, place, (layer,))


def measure(candidate: Candidate, cell: Cell, own: dict[str, Any]) -> None:
    """Add to a cell what it lacks: the randomisations, and each of the other seeds."""
    lacking = [seed for seed in candidate.seeds if seed not in own.get("seeds", {})]
    if "random" in own and not lacking:
        return
    trained = candidate.maps(candidate.trained, cell.method, cell.layers)
    own["layers"] = list(cell.layers or ())
    if "random" not in own:
        own.update(against_random(candidate, cell, trained))
    for seed in lacking:
        others = candidate.maps(candidate.seeds[seed], cell.method, cell.layers)
        own.setdefault("seeds", {})[seed] = {
            name: plain(values) for name, values in resemblances(trained, others).items()
        }


def against_random(candidate: Candidate, cell: Cell, trained: Maps) -> dict[str, Any]:
    """The resemblances to the maps of random networks, and the rise of complexity."""
    found: dict[str, list[Values]] = {}
    rises: list[Values] = []
    for network in candidate.at_random:
        made = candidate.maps(network, cell.method, cell.layers)
        rises.append(plain(rise(trained.signed, made.signed)))
        for name, values in resemblances(trained, made).items():
            found.setdefault(name, []).append(plain(values))
    return {
        "random": {name: summary(each) for name, each in found.items()},
        "emprt": rounded(average([value for own in rises for value in own])),
    }


def summary(each: list[Values]) -> dict[str, Any]:
    """Each image's mean over the randomisations, each randomisation's mean over images, and what has no value."""
    images = [rounded(value) for value in averaged(each)]
    return {"images": images, "each": [rounded(average(own)) for own in each], "missing": missing(each)}


def average(values: Values) -> float | None:
    """The mean of the values that there are."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def plain(values: Tensor) -> list[float | None]:
    """Values (N,) with None where there is none."""
    return [None if value != value else rounded(value) for value in values.tolist()]


def rounded(value: float | None) -> float | None:
    """A value as it is stored."""
    return None if value is None else round(value, 4)


def read() -> Stored:
    """The results of earlier runs."""
    path = results.FOLDER / f"{NAME}.json"
    found: Stored = json.loads(path.read_text()) if path.exists() else {}
    return found


def keep(stored: Stored) -> None:
    """Store the results so far, a list a line."""
    lines = json.dumps(stored, indent=1)
    short = re.sub(r"\[[^\[\]{}]*\]", lambda found: re.sub(r"\s+", "", found[0]), lines)
    (results.FOLDER / f"{NAME}.json").write_text(short + "\n")


def candidates(folder: Path, names: list[str], device: str) -> list[Candidate]:
    """The networks that have other seeds in the folder, or those that are named."""
    known = [*EXCLUSIVE, *UNGUIDED]
    chosen = names or [name for name in known if any(folder.glob(f"*/{name}.safetensors"))]
    unknown = sorted(set(chosen) - set(known))
    if unknown or not chosen:
        asked = f"network {unknown[0]!r}" if unknown else f"{folder}: SEED/NAME.safetensors"
        raise OptionError(f"{asked} was asked for; no such network is there: NAME may be {', '.join(known)}")
    return [Candidate(name, folder, device=device) for name in chosen]


def run(candidate: Candidate, methods: list[str], stored: Stored, cascading: bool) -> None:
    """Measure the pairs of a network that have not been measured; cascading comes after all others."""
    areas = {seed: [round(one, 4) for one in own] for seed, own in check_learnt(candidate).items()}
    own = stored.setdefault(candidate.name, {"cells": {}})
    own["areas"] = areas
    every = list(cells(candidate, methods))
    for cell in every:
        measure(candidate, cell, own["cells"].setdefault(cell.key, {}))
        keep(stored)
        typer.echo(f"{candidate.name} {cell.key}: {gates_page.outcome_of(own['cells'][cell.key])}")
    for cell in every if cascading else ():
        if "mprt" not in own["cells"][cell.key]:
            own["cells"][cell.key]["mprt"] = rounded(candidate.cascade(cell.method, cell.layers, CASCADED))
            keep(stored)


def main(
    folder: Annotated[Path, typer.Argument(help="Networks of other seeds: FOLDER/SEED/NAME.safetensors.")],
    network: Annotated[list[str] | None, typer.Option(help="Only this network; may be repeated.")] = None,
    method: Annotated[list[str] | None, typer.Option(help="Only this method; may be repeated.")] = None,
    cascading: Annotated[bool, typer.Option(help="Measure cascading randomisation, too.")] = True,
    device: Annotated[str, typer.Option(help="Where maps are made, such as cuda.")] = "auto",
) -> None:
    """Measure what has not been measured, and write docs/results/gates.md and the catalogue's outcomes."""
    stored = read()
    try:
        for candidate in candidates(folder, network or [], device):
            run(candidate, method or pellucid.available_methods(), stored, cascading)
    except OptionError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(error.exit_code) from None
    publish(stored)


def publish(stored: Stored) -> None:
    """Write the page's table, and the outcomes that the package ships."""
    results.write(NAME, gates_page.page(stored))
    gates.FILE.write_text(json.dumps(gates_page.outcomes(stored), indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
