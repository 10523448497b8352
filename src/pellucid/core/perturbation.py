"""What methods share that change the picture and look at the answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from pellucid.core.inputs import Images, cut, explained, repeated, spans, with_explained
from pellucid.core.probe import Probe
from pellucid.core.target import Targets

Variants = Callable[[int, int], Tensor]
"""Variants ``start`` to ``stop`` of one image, (stop − start, C, *space); made when they are needed."""


def one_by_one(probe: Probe, images: Images, targets: Targets) -> Iterator[tuple[Images, Targets]]:
    """Each image of a batch on its own, with its targets settled: what is explained is what the clean image gets."""
    settled = targets.settled(probe.scores(images))
    for index in range(len(explained(images))):
        yield cut(images, index, index + 1), settled.images(index, index + 1)


def scores_of(probe: Probe, image: Images, target: Targets, count: int, variants: Variants) -> Tensor:
    """The target's scores of ``count`` variants of one image, (count, K), at most ``probe.batch_size`` a pass."""
    scores = []
    for start, stop in spans(count, probe.batch_size):
        batch = with_explained(repeated(image, stop - start), variants(start, stop))
        scores.append(target.repeated(stop - start).scores(probe.scores(batch)))
    return torch.cat(scores)
