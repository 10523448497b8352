"""``python -m benchmarks.phantoms``: how often each method's peak hits what was drawn, for the bundled networks.

The images are drawn afresh, from seeds that no network was trained on. A hit is a peak inside the finding's mask
widened by half a cell of the networks' last grid; counted are the findings that are there and that the network
finds (probability at least 0.5). Which method is best for a network is chosen on other images than those that the
table is of.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import typer
from torch import Tensor

import pellucid
from benchmarks import results
from pellucid import phantom
from pellucid.core.method import Method
from pellucid.demo.study import Network, networks, rate
from pellucid.errors import GradientError, NoAttentionError
from pellucid.methods.rise import RISE

NAME = "phantoms"
IMAGES = 500
SEED = 40_000_000
CHOOSING = "choosing"
"""The images that the best methods are chosen on, in the names of what is kept."""
CHOOSING_IMAGES = 200
CHOOSING_SEED = 50_000_000
FEWER: Mapping[str, Method] = {"rise": RISE(masks=200)}


def all_networks() -> list[Network]:
    """The bundled networks, each with all methods that apply to it."""
    swin = Network("Swin transformer", phantom.swin(), ())
    return [Network(one.title, one.model, applying(one)) for one in (*networks(), swin)]


def applying(network: Network) -> tuple[str, ...]:
    """The methods that a network can be explained by."""
    image = phantom.radiographs(1).images
    return tuple(name for name in pellucid.available_methods() if applies(network, name, image))


def applies(network: Network, name: str, image: Tensor) -> bool:
    """Whether a method explains a network: those that read attention may find none."""
    try:
        network.explained(FEWER.get(name, name), image, 0)
    except (GradientError, NoAttentionError):
        return False
    return True


def page(counts: results.Counts, titles: list[str]) -> str:
    """A row a method, a column a network, the best first; and which is best, chosen on other images."""
    table_of = {key: count for key, count in counts.items() if not key.startswith(CHOOSING)}
    names = sorted({key.split("/")[1] for key in table_of}, key=lambda name: -_best(table_of, name))
    header = ("method", *(f"{title}: hits (95 % interval)" for title in titles))
    rows = [(f"`{name}`", *(_cell(counts, f"{title}/{name}") for title in titles)) for name in names]
    fewer = ", ".join(f"`{name}` with {method}" for name, method in FEWER.items())
    chosen = "".join(f"- {title}: {_chosen(counts, title)}\n" for title in titles)
    return (
        f"{results.table(header, rows)}\n{IMAGES} radiographs. Methods at their default settings, but {fewer}.\n\n"
        f"The best method of each network, chosen on {CHOOSING_IMAGES} other radiographs, and what it hits on "
        "these:\n\n"
        f"{chosen}"
    )


def _chosen(counts: results.Counts, title: str) -> str:
    shares = {
        key.split("/")[2]: hits / max(1, count)
        for key, (hits, count) in counts.items()
        if key.startswith(f"{CHOOSING}/{title}/")
    }
    if not shares:
        return "not chosen yet"
    name = max(shares, key=lambda one: (shares[one], one))
    return f"`{name}`, {_cell(counts, f'{title}/{name}')}"


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
