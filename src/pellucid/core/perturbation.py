"""What methods share that change the picture and look at the answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from pellucid.core.inputs import Images, chunks, cut, explained, repeated, with_explained
from pellucid.core.probe import Probe
from pellucid.core.target import Targets
from pellucid.errors import TargetError

Variants = Callable[[int, int], Tensor]
"""Variants ``start`` to ``stop`` of one image, (stop − start, C, *space); made when they are needed."""


def one_by_one(probe: Probe, images: Images, targets: Targets) -> Iterator[tuple[Images, Targets]]:
    """Each image of a batch on its own, with its targets settled: what is explained is what the clean image gets."""
    logits = probe.scores(images)
    resolved = targets.resolved(logits)
    whole = resolved.scores(logits)
    for index in range(len(explained(images))):
        target = resolved.images(index, index + 1)
        _check_alone(target.scores(logits[index : index + 1]), whole[index : index + 1])
        yield cut(images, index, index + 1), target


Weigh = Callable[[Probe, Images, Targets, Tensor], Tensor]
"""From one image and its channels (1, C, *grid) to their weights (K, C)."""


def channel_weights(probe: Probe, images: Images, targets: Targets, activations: Tensor, weigh: Weigh) -> Tensor:
    """The weights of channels (B, 1, C, *grid) that each image is asked for alone, (B, K, C, 1, …)."""
    pairs = zip(one_by_one(probe, images, targets), activations, strict=True)
    weights = torch.stack([weigh(probe, image, target, channels) for (image, target), channels in pairs])
    return weights.reshape(*weights.shape, *(1,) * (activations.ndim - 3))


def _check_alone(score: Tensor, in_batch: Tensor) -> None:
    """Raise unless one image's scores are what they were among the others, as a callable's might not be."""
    if not torch.allclose(score, in_batch, rtol=1e-4, atol=1e-6, equal_nan=True):
        raise TargetError(
            "the callable target scores an image otherwise on its own than among others; this method asks it about "
            "one image at a time: give the classes as a tensor, or explain the images one by one"
        )


def scores_of(probe: Probe, image: Images, target: Targets, count: int, variants: Variants) -> Tensor:
    """The target's scores of ``count`` variants of one image, (count, K), at most ``probe.batch_size`` a pass."""
    scores = []
    for start, stop in chunks(count, probe.batch_size):
        batch = with_explained(repeated(image, stop - start), variants(start, stop))
        scores.append(target.repeated(stop - start).scores(probe.scores(batch)))
    return torch.cat(scores)
