"""``python -m benchmarks.fooled``: what shows that a network's weights were manipulated.

The criterion was fixed before the first whole run; the settings of the constructions were chosen on some of the same
images. A construction keeps the accuracy if the 95 % interval of the difference to the network that it is made from
lies within one point. It is *exposed* by a figure if the 95 % intervals of the two networks have no point in common.
The figures are the hit rate of the peak on the findings' masks, tolerance 0, and the deletion AUC minus that of random
order on the same images, where pixels become grey (0 in the network's input). Beside it stand the deletion where pixels
are blurred, and, added after first figures had been seen, the one by cells of 8 × 8 pixels. Each map explains the class
that the image was drawn with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import typer
from torch import Tensor, nn

from benchmarks import results
from benchmarks.fooled_figures import NAME, Figure, OfMethod, OfNetwork, keep, read, reference
from benchmarks.fooled_measures import (
    METHODS,
    Cases,
    Mapped,
    Predicted,
    alike,
    cases_of,
    explained,
    mapped,
    predicted,
    random_order,
)
from benchmarks.fooled_networks import NETWORKS, SIDE, framed
from benchmarks.fooled_page import page
from pellucid import Explanation, phantom, statistics

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


@dataclass(frozen=True, eq=False)
class Reference:
    """What a network is compared with: the predictions and the maps, by method, of another on the same images."""

    predicted: Predicted
    maps: Mapping[str, Explanation]

    @classmethod
    def of(cls, network: nn.Module, images: Images) -> Reference:
        """Those of a network."""
        maps = {name: explained(network, images.cases, method) for name, method in METHODS.items()}
        return cls(predicted(network, images.tested, images.classes), maps)


def measured(network: nn.Module, images: Images, before: Reference) -> OfNetwork:
    """Measure a network against another."""
    now = Reference.of(network, images)
    right, others = now.predicted.right, before.predicted.right
    random = random_order(network, images.cases)
    maps = {name: mapped(network, images.cases, found, random) for name, found in now.maps.items()}
    return OfNetwork(
        accuracy=Figure.of(statistics.proportion(right)),
        change=Figure.of(statistics.difference(right, others, generator=np.random.default_rng(0))),
        auc=now.predicted.auc,
        same=float(np.mean(np.equal(now.predicted.labels, before.predicted.labels))),
        tested=len(right),
        methods={name: _of_method(one, before.maps[name]) for name, one in maps.items()},
    )


def _of_method(one: Mapped, before: Explanation) -> OfMethod:
    gaps = {baseline: Figure.of(one.gap(baseline)) for baseline in one.gaps}
    return OfMethod(len(one.hits), Figure.of(one.hit_rate), gaps, one.empty, alike(one.explanation, before))


def main(
    again: Annotated[bool, typer.Option(help="Measure again what has been measured.")] = False,
) -> None:
    """Build and measure what has not been, and write docs/results/fooled.md."""
    known = {} if again else read()
    for group in ("untouched", "framed"):
        missing = [name for name in NETWORKS if reference(name) == group and name not in known]
        if not missing:
            continue
        images = Images.of(NETWORKS[group].framed)
        before = Reference.of(NETWORKS[group].build(), images)
        for name in missing:
            known[name] = measured(NETWORKS[name].build(), images, before)
            keep(known)
            typer.echo(f"{name}: {known[name]}")
    results.write(NAME, page(read()))


if __name__ == "__main__":
    typer.run(main)
