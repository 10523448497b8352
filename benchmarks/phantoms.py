"""``python -m benchmarks.phantoms``: how often the peak of each method's map hits the drawn finding.

The images use seeds that no network was trained on. A hit is a peak inside the finding's mask, widened by half a cell
of the network's last grid. Only findings that are present and that the network detects (probability at least 0.5) are
counted. The best method of a network is selected on other images than those of the table.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import typer

import pellucid
from benchmarks import results
from pellucid import phantom
from pellucid.core.method import Method
from pellucid.demo.study import Network, networks, rate
from pellucid.methods.rise import RISE
from pellucid.phantom.models import ARCHITECTURES

NAME = "phantoms"
IMAGES = 500
SEED = 40_000_000
CHOOSING = "choosing"
"""The prefix, in the stored results, of the images on which the best methods are selected."""
CHOOSING_IMAGES = 200
CHOOSING_SEED = 50_000_000
FEWER: Mapping[str, Method] = {"rise": RISE(masks=200)}


def all_networks() -> list[Network]:
    """The included networks, each with all methods that apply to it."""
    return networks(tuple(ARCHITECTURES), pellucid.available_methods())


def page(counts: results.Counts, titles: list[str]) -> str:
    """A table with a row per method and a column per network, and the best methods, selected on other images."""
    table_of = {key: count for key, count in counts.items() if not key.startswith(CHOOSING)}
    names = sorted({key.split("/")[1] for key in table_of}, key=lambda name: (-_best(table_of, name), name))
    header = ("method", *(f"{title}: hits (95 % interval)" for title in titles))
    rows = [(f"`{name}`", *(_cell(counts, f"{title}/{name}") for title in titles)) for name in names]
    fewer = ", ".join(f"`{name}` with {method}" for name, method in FEWER.items())
    chosen = "".join(f"- {title}: {_chosen(counts, title)}\n" for title in titles)
    return (
        f"{results.table(header, rows)}\n{IMAGES} radiographs. Default settings, except {fewer}.\n\n"
        f"The best method of each network, selected on {CHOOSING_IMAGES} other radiographs, and its hits on these:\n\n"
        f"{chosen}"
    )


def _chosen(counts: results.Counts, title: str) -> str:
    shares = {
        key.split("/")[2]: hits / max(1, count)
        for key, (hits, count) in counts.items()
        if key.startswith(f"{CHOOSING}/{title}/")
    }
    if not shares:
        return "not selected yet"
    name = max(shares, key=lambda one: (shares[one], one))
    return f"`{name}`, {_cell(counts, f'{title}/{name}')}"


def _best(counts: results.Counts, name: str) -> float:
    return max(hits / max(1, count) for key, (hits, count) in counts.items() if key.split("/")[1] == name)


def _cell(counts: results.Counts, key: str) -> str:
    return results.share(*counts[key]) if key in counts else "does not apply"


def main(
    method: Annotated[list[str] | None, typer.Option(help="Measure only this method; may be repeated.")] = None,
    again: Annotated[bool, typer.Option(help="Measure again what has been measured.")] = False,
) -> None:
    """Measure every method that has not been measured, and write docs/results/phantoms.md."""
    counts = results.read(NAME)
    found = all_networks()
    splits = {"": (IMAGES, SEED), f"{CHOOSING}/": (CHOOSING_IMAGES, CHOOSING_SEED)}
    for prefix, (images, seed) in splits.items():
        drawn = phantom.radiographs(images, seed=seed)
        for network, name in [(one, name) for one in found for name in one.methods]:
            key = f"{prefix}{network.title}/{name}"
            if (not method or name in method) and (again or key not in counts):
                one = rate(network, FEWER.get(name, name), drawn)
                counts[key] = [one.hits, one.count]
                results.keep(NAME, counts)
                typer.echo(f"{key}: {one.hits} of {one.count}")
    results.write(NAME, page(counts, [network.title for network in found]))


if __name__ == "__main__":
    typer.run(main)
