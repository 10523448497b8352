"""What ``benchmarks.fooled`` measures of a network: its predictions, and its maps against truth and random order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

import pellucid
from pellucid import Explanation, phantom, statistics
from pellucid.metrics import Deletion, PointingGame
from pellucid.phantom.training import auc, normalised
from pellucid.priors import Random
from pellucid.statistics import Interval

METHODS = ("gradcam", "saliency", "input_x_gradient", "integrated_gradients", "occlusion")
CAMS = ("gradcam",)
DELETIONS: Mapping[str, Deletion] = {"zero": Deletion(steps=10), "blur": Deletion(steps=10, baseline="blur")}
RANDOM = Random(draws=4)
LAST = "layer4"
"""The end of the name of the layer at which class activation maps look: the last stage."""
_BATCH = 128


@dataclass(frozen=True, eq=False)
class Cases:
    """Images (N, 1, H, W) with a finding, normalised; the class of each, (N,), and its mask, (N, H, W)."""

    images: Tensor
    classes: Tensor
    masks: Tensor


@dataclass(frozen=True)
class Predicted:
    """A network's predictions of N images: whether each is right, and the mean AUC of a class against the others."""

    right: tuple[bool, ...]
    labels: tuple[int, ...]
    auc: float


@dataclass(frozen=True, eq=False)
class Mapped:
    """A method's maps of the cases: hits (N,), and the deletion AUC minus that of random order, (N,), by baseline.

    Below 0 the score falls faster than in random order.
    """

    explanation: Explanation
    hits: Tensor
    gaps: Mapping[str, Tensor]

    @property
    def hit_rate(self) -> Interval:
        """The share of peaks in the finding."""
        return statistics.proportion(self.hits.numpy())

    def gap(self, baseline: str) -> Interval:
        """The mean of deletion against random order."""
        return statistics.mean(self.gaps[baseline].numpy(), generator=np.random.default_rng(0))

    @property
    def empty(self) -> float:
        """The share of maps that show nothing."""
        return float(self.explanation.degenerate.float().mean())


def cases_of(drawn: phantom.Phantoms, images: Tensor) -> Cases:
    """The cases among drawn images: those with a finding. ``images`` are what the network is to see, in [0, 1]."""
    found = drawn.classes > 0
    classes = drawn.classes[found]
    return Cases(normalised(images[found]), classes, drawn.masks[found, classes - 1])


def predicted(network: nn.Module, images: Tensor, classes: Tensor) -> Predicted:
    """A network's predictions of images in [0, 1], whose classes are known."""
    with torch.no_grad():
        logits = torch.cat([network(normalised(some)) for some in torch.split(images, _BATCH)])
    labels, scores = logits.argmax(1), logits.softmax(1)
    areas = [auc(scores[:, one], classes == one) for one in range(scores.shape[1])]
    return Predicted(tuple((labels == classes).tolist()), tuple(labels.tolist()), sum(areas) / len(areas))


def random_order(network: nn.Module, cases: Cases) -> dict[str, Tensor]:
    """The deletion AUC (N,) in random order, by baseline."""
    explanation = pellucid.explain(network, cases.images, RANDOM, cases.classes, head="softmax")
    return _deleted(network, cases, explanation)


def mapped(network: nn.Module, cases: Cases, method: str, random: Mapping[str, Tensor]) -> Mapped:
    """A method's maps of the classes, measured."""
    layers = _last_stage(network) if method in CAMS else None
    found = pellucid.explain(network, cases.images, method, cases.classes, layers=layers, head="softmax")
    game = PointingGame()
    hits = pellucid.evaluate(network, cases.images, found, masks=cases.masks, metrics=[game])[game.name][:, 0]
    deleted = _deleted(network, cases, found)
    return Mapped(found, hits, {baseline: deleted[baseline] - random[baseline] for baseline in DELETIONS})


def _deleted(network: nn.Module, cases: Cases, explanation: Explanation) -> dict[str, Tensor]:
    found = {}
    for baseline, metric in DELETIONS.items():
        (values,) = pellucid.evaluate(network, cases.images, explanation, metrics=[metric]).values.values()
        found[baseline] = values[:, 0]
    return found


def _last_stage(network: nn.Module) -> Sequence[str]:
    return [next(name for name, _ in network.named_modules() if name.endswith(LAST))]


def alike(one: Mapped, other: Mapped) -> float:
    """The mean rank correlation of two sets of maps; NaN where every map of one is constant."""
    values = pellucid.compare(one.explanation, other.explanation, metrics=["spearman"])["spearman"]
    return float(values.nanmean())
