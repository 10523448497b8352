"""What ``pellucid.choose`` chooses for the demo's networks, without masks, and how often it hits."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pellucid import phantom
from pellucid.choosing.choose import FEWEST, choose
from pellucid.choosing.pairs import gradient_methods
from pellucid.core.choice import GradedPair
from pellucid.demo.study import Network, Rate, measured_images, rate
from pellucid.models.sources import model_info

MOST = 40
"""The findings that a choice is made by."""
_SEED = 31_000_000


@dataclass(frozen=True)
class Chosen:
    """The pair that was chosen by ``images`` findings; its hits and those of the convention, on other images.

    ``pair`` is None where nothing was chosen, ``reason`` says why, or how clearly.
    """

    network: str
    images: int
    pair: GradedPair | None
    reason: str
    rate: Rate
    convention: Rate


def chosen(network: Network, count: int) -> Chosen | None:
    """Choose by the findings of ``count`` radiographs, and measure on others; None where these are too few."""
    drawn = phantom.radiographs(count, seed=_SEED)
    found = drawn.labels.nonzero()[:MOST]
    if len(found) < FEWEST:
        return None
    preprocessing = model_info(network.model).preprocessing
    images = preprocessing.normalise(drawn.images) if preprocessing else drawn.images
    methods = [name for name in network.methods if name in gradient_methods()]
    choice = choose(network.model, images[found[:, 0]], targets=found[:, 1], candidates=methods, full=False)
    others = measured_images(count)
    return Chosen(
        network.title,
        choice.images,
        None if choice.chosen is None else choice.best,
        choice.reason,
        rate(replace(network, choice=choice), "auto", others),
        rate(network, "gradcam", others),
    )
