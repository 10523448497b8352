"""``python -m benchmarks.phantoms``: how often each method's peak hits what was drawn, for both bundled networks.

The images are drawn afresh, from a seed that no network was trained on. A hit is a peak inside the finding's mask
widened by half a cell of the networks' last grid; counted are the findings that are there and that the network
finds (probability at least 0.5).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated

import typer

import pellucid
from benchmarks import results
from pellucid import phantom
from pellucid.core.method import Method
from pellucid.demo.study import Network, networks, rate
from pellucid.methods.rise import RISE

NAME = "phantoms"
IMAGES = 500
SEED = 40_000_000
FEWER: Mapping[str, Method] = {"rise": RISE(masks=200)}


def every_method(network: Network) -> Network:
    """The network with all methods that apply to it."""
    attends = "rollout" in network.methods
    return replace(network, methods=tuple(n for n in pellucid.available_methods() if attends or n != "rollout"))


def page(counts: results.Counts, titles: list[str]) -> str:
    """A row a method, a column a network, the best first."""
    names = sorted({key.split("/")[1] for key in counts}, key=lambda name: -_best(counts, name))
    header = ("method", *(f"{title}: hits (95 % interval)" for title in titles))
    rows = [(f"`{name}`", *(_cell(counts, f"{title}/{name}") for title in titles)) for name in names]
    fewer = ", ".join(f"`{name}` with {method}" for name, method in FEWER.items())
    return results.table(header, rows) + f"\n{IMAGES} radiographs. Methods at their default settings, but {fewer}.\n"


def _best(counts: results.Counts, name: str) -> float:
    return max(hits / max(1, count) for key, (hits, count) in counts.items() if key.split("/")[1] == name)


def _cell(counts: results.Counts, key: str) -> str:
    return results.share(*counts[key]) if key in counts else "does not apply"


def main(
    method: Annotated[list[str] | None, typer.Option(help="Measure only this one; repeatable.")] = None,
    again: Annotated[bool, typer.Option(help="Measure also what is known.")] = False,
) -> None:
    """Measure every method that is not measured yet, and write docs/results/phantoms.md."""
    counts = results.read(NAME)
    drawn = phantom.radiographs(IMAGES, seed=SEED)
    found = [every_method(network) for network in networks()]
    for network in found:
        for name in network.methods:
            key = f"{network.title}/{name}"
            if (not method or name in method) and (again or key not in counts):
                one = rate(network, FEWER.get(name, name), drawn)
                counts[key] = [one.hits, one.count]
                results.keep(NAME, counts)
                typer.echo(f"{key}: {one.hits} of {one.count}")
    results.write(NAME, page(counts, [network.title for network in found]))


if __name__ == "__main__":
    typer.run(main)
