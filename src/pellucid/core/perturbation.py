"""Code shared by the perturbation methods, which change the image and compare the scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from pellucid.core.inputs import chunks
from pellucid.core.probe import Probe
from pellucid.core.target import Targets
from pellucid.errors import TargetError

Variants = Callable[[int, int], Tensor]
"""Variants ``start`` to ``stop`` of one image, (stop − start, C, *space); made when they are needed."""

Weigh = Callable[[Probe, Targets, Tensor], Tensor]
"""From a probe of one image, its targets and its channels (1, C, *grid) to the channels' weights (K, C)."""


def one_by_one(probe: Probe, targets: Targets) -> Iterator[tuple[Probe, Targets]]:
    """Each image of a batch as its own probe, with targets resolved to the unchanged image's classes."""
    logits = probe.scores()
    resolved = targets.resolved(logits)
    whole = resolved.scores(logits)
    for index in range(len(probe.inputs)):
        chosen = slice(index, index + 1)
        target = resolved.images(index, index + 1)
        _check_alone(target.scores(logits[chosen]), whole[chosen])
        yield probe.on(probe.inputs[chosen]), target


def channel_weights(probe: Probe, targets: Targets, activations: Tensor, weigh: Weigh) -> Tensor:
    """The weights of channels (B, 1, C, *grid), computed image by image, (B, K, C, 1, …)."""
    pairs = zip(one_by_one(probe, targets), activations, strict=True)
    weights = torch.stack([weigh(alone, target, channels) for (alone, target), channels in pairs])
    return weights.reshape(*weights.shape, *(1,) * (activations.ndim - 3))


def _check_alone(score: Tensor, in_batch: Tensor) -> None:
    """Raise unless one image's scores equal those it has within its batch; a callable target's may not."""
    if not torch.allclose(score, in_batch, rtol=1e-4, atol=1e-6, equal_nan=True):
        raise TargetError(
            "the callable target scores an image otherwise on its own than among others; this method asks it about "
            "one image at a time: give the classes as a tensor, or explain the images one by one"
        )


def scores_of(probe: Probe, target: Targets, count: int, variants: Variants) -> Tensor:
    """The target's scores of ``count`` variants of one image, (count, K), at most ``probe.batch_size`` a pass."""
    scores = []
    for start, stop in chunks(count, probe.batch_size):
        scores.append(target.repeated(stop - start).scores(probe.on(variants(start, stop)).scores()))
    return torch.cat(scores)
