"""``python -m benchmarks.fooled``: what shows that a network's weights were manipulated.

The criterion was fixed before the first run. A construction keeps the accuracy if the 95 % interval of the difference
to the network that it is made from lies within one point. It is *exposed* by a figure if the 95 % intervals of the two
networks have no point in common. The figures are the hit rate of the peak on the findings' masks, tolerance 0, and the
deletion AUC minus that of random order on the same images, where pixels become grey (0 in the network's input).
Beside it stand the deletion where pixels are blurred, and, added after a first look at the untouched network, the one
by cells of 8 × 8 pixels. Each map explains the class that the image was drawn with.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import typer
from torch import Tensor

from benchmarks import results
from benchmarks.fooled_figures import NAME, Figure, OfMethod, OfNetwork, keep, read, reference
from benchmarks.fooled_measures import (
    METHODS,
    Cases,
    Mapped,
    Predicted,
    alike,
    cases_of,
    mapped,
    predicted,
    random_order,
)
from benchmarks.fooled_networks import NETWORKS, SIDE, framed
from benchmarks.fooled_page import page
from pellucid import phantom, statistics

SEED, TEST_SEED = 70_000_000, 71_000_000
"""The first seeds of the images that are explained, and of those that the accuracy is measured on."""
EXPLAINED, TESTED = 280, 4000


@dataclass(frozen=True, eq=False)
class Images:
    """What all networks of a group see: the cases, and the images for the accuracy with their classes."""

    cases: Cases
    tested: Tensor
    classes: Tensor

    @classmethod
    def of(cls, is_framed: bool, explained: int = EXPLAINED, tested: int = TESTED) -> Images:
        """Draw them."""
        drawn = phantom.radiographs(explained, SIDE, SEED, exclusive=True)
        others = phantom.radiographs(tested, SIDE, TEST_SEED, exclusive=True)
        shown, seen = (framed(one.images) if is_framed else one.images for one in (drawn, others))
        return cls(cases_of(drawn, shown), seen, others.classes)


def measured(names: Sequence[str], images: Images) -> Iterator[tuple[str, OfNetwork]]:
    """Measure networks, of which the first is the reference of the others."""
    before: tuple[Predicted, dict[str, Mapped]] | None = None
    for name in names:
        network = NETWORKS[name].build()
        found = predicted(network, images.tested, images.classes)
        random = random_order(network, images.cases)
        maps = {one: mapped(network, images.cases, method, random) for one, method in METHODS.items()}
        before = before or (found, maps)
        yield name, _of_network(found, before[0], {one: _of_method(maps[one], before[1][one]) for one in METHODS})


def _of_network(found: Predicted, before: Predicted, methods: dict[str, OfMethod]) -> OfNetwork:
    change = statistics.difference(found.right, before.right, generator=np.random.default_rng(0))
    same = float(np.mean(np.equal(found.labels, before.labels)))
    accuracy = Figure.of(statistics.proportion(found.right))
    return OfNetwork(accuracy, Figure.of(change), found.auc, same, len(found.right), methods)


def _of_method(one: Mapped, before: Mapped) -> OfMethod:
    gaps = {baseline: Figure.of(one.gap(baseline)) for baseline in one.gaps}
    return OfMethod(len(one.hits), Figure.of(one.hit_rate), gaps, one.empty, alike(one, before))


def main(
    again: Annotated[bool, typer.Option(help="Measure again what has been measured.")] = False,
) -> None:
    """Build and measure what has not been, and write docs/results/fooled.md."""
    known = {} if again else read()
    for group in ("untouched", "framed"):
        names = [name for name in NETWORKS if reference(name) == group]
        if all(name in known for name in names):
            continue
        for name, found in measured(names, Images.of(NETWORKS[group].framed)):
            known[name] = found
            keep(known)
            typer.echo(f"{name}: {found}")
    results.write(NAME, page(read()))


if __name__ == "__main__":
    typer.run(main)
