"""What ``benchmarks.fooled`` measures of a network: its predictions, and its maps against truth and random order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import pellucid
from pellucid import Explanation, Method, Metric, phantom, statistics
from pellucid.core.space import upsample
from pellucid.methods import GradCAM, InputXGradient, Occlusion, Saliency
from pellucid.metrics import Deletion, PointingGame
from pellucid.phantom.training import auc, normalised
from pellucid.priors import Random
from pellucid.statistics import Interval

METHODS: Mapping[str, Method] = {
    "gradcam": GradCAM(),
    "saliency": Saliency(),
    "input_x_gradient": InputXGradient(),
    "occlusion": Occlusion(stride=8),
}
DELETIONS: Mapping[str, Deletion] = {"zero": Deletion(steps=10), "blur": Deletion(steps=10, baseline="blur")}
CELL = 8
"""Pixels a side of the cells by which pixels are deleted as well: single pixels in grey are noise to this network."""
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

    Below 0 the score falls faster than in random order. The baseline "cells" is "zero", of the map's mean in each cell.
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


def explained(network: nn.Module, cases: Cases, method: Method) -> Explanation:
    """A method's maps of the classes."""
    layers = [last_stage(network)] if method.uses_layers else None
    return pellucid.explain(network, cases.images, method, cases.classes, layers=layers, head="softmax")


def mapped(network: nn.Module, cases: Cases, found: Explanation, random: Mapping[str, Tensor]) -> Mapped:
    """Maps, measured."""
    hits = _measured(network, cases, found, PointingGame())
    deleted = _deleted(network, cases, found)
    gaps = {baseline: deleted[baseline] - random[baseline] for baseline in DELETIONS}
    by_cell = _measured(network, cases, by_cells(found, cases.images.shape[-1]), DELETIONS["zero"])
    return Mapped(found, hits, {**gaps, "cells": by_cell - random["zero"]})


def by_cells(explanation: Explanation, side: int) -> Tensor:
    """The maps (N, 1, side, side), with their mean in each cell."""
    values = upsample(explanation.attributions, (side, side))
    return F.avg_pool2d(values, CELL).repeat_interleave(CELL, -1).repeat_interleave(CELL, -2)


def _deleted(network: nn.Module, cases: Cases, explanation: Explanation) -> dict[str, Tensor]:
    return {baseline: _measured(network, cases, explanation, metric) for baseline, metric in DELETIONS.items()}


def _measured(network: nn.Module, cases: Cases, explanation: Explanation | Tensor, metric: Metric) -> Tensor:
    """A metric's values, (N,)."""
    found = pellucid.evaluate(
        network,
        cases.images,
        explanation,
        targets=cases.classes,
        masks=cases.masks,
        metrics=[metric],
        head="softmax",
    )
    (values,) = found.values.values()
    return values[:, 0]


def last_stage(network: nn.Module) -> str:
    """The layer at which class activation maps look."""
    found: str = next(name for name, _ in network.named_modules() if name.endswith(LAST))
    return found


def alike(one: Explanation, other: Explanation) -> float:
    """The mean rank correlation of two sets of maps; NaN where every map of one is constant."""
    return float(pellucid.compare(one, other, metrics=["spearman"])["spearman"].nanmean())
