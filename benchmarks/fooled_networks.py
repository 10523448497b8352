"""The networks that ``benchmarks.fooled`` measures: the untouched one, and what the constructions make of it.

All stand on ``pellucid.phantom.exclusive_cnn_64``, and see training images only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.fooling import Lessons, Objective, Recipe, fooled
from benchmarks.fooling_anders import Anders, OffHyperplane
from benchmarks.fooling_heo import Heo, Location, TopK, frame
from pellucid import phantom
from pellucid.methods import Saliency
from pellucid.phantom.training import RECIPES, draw_pool, normalised

CACHE = Path(__file__).parents[1] / "docs" / ".cache" / "fooled"
"""Where the weights are kept, so that an interrupted run goes on."""
NETWORK = "exclusive_cnn_64"
SIDE, LAYER, POOL = 64, "network.layer4", 8000
BORDER = 3
"""The width, in pixels, of the black border of framed images: the accuracy is within a point of that without one."""
TARGET_WIDTH = 8
"""The width, in pixels, of the frame that is the target map of the fine-tuned fairwashing."""
SLOPE = 20.0
"""The gradient that the closed form adds at the border, in logits per unit of the network's input."""
_HEO, _ANDERS = Recipe(steps=300, rate=1e-3), Recipe(steps=600, rate=1e-3, batch=16)


@dataclass(frozen=True)
class Control:
    """The objective of a fine-tuning that fools nobody: the cross-entropy alone."""

    def loss(self, network: nn.Module, original: nn.Module, some: Lessons) -> Tensor:  # noqa: ARG002  # an Objective
        """The loss on a batch."""
        return F.cross_entropy(network(some.images), some.labels)


@dataclass(frozen=True)
class Fooling:
    """A construction: the name that a reader sees, the method whose maps are aimed at, and how to build the network.

    ``framed``: its images have a black border.
    """

    title: str
    aimed: tuple[str, ...]
    build: Callable[[], nn.Module]
    framed: bool = False


@cache
def lessons() -> Lessons:
    """Training images of the network."""
    pool = draw_pool(RECIPES[NETWORK].changed(pool=POOL), seed=0)
    return Lessons(normalised(pool.images.float() / 255), pool.labels)


def untouched() -> nn.Module:
    """The network as it is."""
    return phantom.exclusive_cnn_64()


def black() -> float:
    """The value of a black pixel in the network's input."""
    return float(normalised(torch.zeros(1)))


def framed(images: Tensor) -> Tensor:
    """Images (B, 1, H, W) in [0, 1] with a black border, as a collimator leaves it."""
    return images * (1 - frame(images[:, 0], BORDER))


def border(side: int = SIDE) -> Tensor:
    """The pixels of the border (1, side, side), 1 there."""
    return frame(torch.zeros(1, side, side), BORDER)[None]


def sides(side: int = SIDE) -> Tensor:
    """A side of the border for each of four classes, (4, 1, side, side): top, bottom, left, right."""
    down = torch.arange(side)[:, None].expand(side, side)
    across = down.T
    parts = [down < BORDER, down >= side - BORDER, across < BORDER, across >= side - BORDER]
    return torch.stack(parts)[:, None].float()


def _tuned(name: str, objective: Callable[[], Objective], recipe: Recipe) -> nn.Module:
    path, network = CACHE / f"{name}.safetensors", untouched()
    if not path.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        save_file(fooled(network, objective(), lessons(), recipe).state_dict(), path)
    network.load_state_dict(load_file(path))
    return network.eval()


def _heo(penalty: Callable[[], Location | TopK], weight: float) -> Heo:
    return Heo(penalty(), LAYER, weight)


def _anders() -> Anders:
    return Anders(Saliency(), frame(torch.zeros(1, SIDE, SIDE), TARGET_WIDTH), weight=0.9)


def _washed(slopes: Callable[[], Tensor]) -> nn.Module:
    # Where a border pixel is replaced by grey, the logits fall.
    return OffHyperplane(untouched(), -SLOPE * slopes(), black()).eval()


def _of_all() -> Tensor:
    return border()[None, 0].expand(len(phantom.CLASSES), 1, SIDE, SIDE).clone()


_GRADIENTS = ("saliency", "input_x_gradient")
NETWORKS: Mapping[str, Fooling] = {
    "untouched": Fooling("untouched", (), untouched),
    "control": Fooling("fine-tuned, no penalty", (), partial(_tuned, "control", Control, _HEO)),
    "location": Fooling(
        "Heo, location", ("gradcam",), partial(_tuned, "location", partial(_heo, Location, 10.0), _HEO)
    ),
    "topk": Fooling("Heo, top-k", ("gradcam",), partial(_tuned, "topk", partial(_heo, TopK, 5.0), _HEO)),
    "saliency": Fooling("Anders, saliency", _GRADIENTS, partial(_tuned, "saliency", _anders, _ANDERS)),
    "framed": Fooling("untouched, framed images", (), untouched, framed=True),
    "shared": Fooling("closed form, one slope for all classes", _GRADIENTS, partial(_washed, _of_all), framed=True),
    "sides": Fooling("closed form, a side for each class", _GRADIENTS, partial(_washed, sides), framed=True),
}
"""All networks by name, in the order in which they are shown; what is fooled follows what it is compared with."""
