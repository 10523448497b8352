"""The fall of the score and the sum of the attributions for random parts of the image, and how they correlate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor

from pellucid.core.metric import CONSTANT_MAP, Cases, Values
from pellucid.core.replacement import Replacement, stand_ins
from pellucid.errors import OptionError
from pellucid.metrics._curves import check_count

Score = Literal["probability", "logit"]
Draw = Callable[[torch.Generator], Tensor]
"""A random part of the image, (*space) bool."""

CONSTANT_SCORE = "the score does not change"


def clean(cases: Cases, score: Score) -> Tensor:
    """The scores of the images as they are, (P,) float64."""
    return (cases.logits if score == "logit" else cases.probabilities).cpu().double()


def falls_and_sums(
    cases: Cases, draw: Draw, samples: int, baseline: Replacement, score: Score
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """The fall of the score and the sum of the attributions, (P, samples) float64 each, and who has none, by reason.

    The parts are the same for all images. They are drawn when they are needed: all of them may not fit in memory.
    """
    found = stand_ins(baseline, cases)
    images, others = cases.images, found.images[0]
    seeds = torch.randint(2**62, (samples,), generator=cases.generator()).tolist()

    def part(step: int) -> Tensor:
        return draw(torch.Generator().manual_seed(seeds[step]))

    def variant(which: Tensor, step: Tensor) -> Tensor:
        steps, index = torch.unique(step, return_inverse=True)
        gone = torch.stack([part(one) for one in steps.tolist()]).to(images.device)[index]
        return torch.where(gone[:, None], others[which], images[which])

    after = cases.scores(samples, variant, logits=score == "logit").cpu().double()
    maps = cases.maps.flatten(1).cpu().double()  # not every device has float64
    sums = torch.stack([maps @ part(step).flatten().double() for step in range(samples)], dim=1)
    return clean(cases, score)[:, None] - after, sums, found.reasons()


def correlated(cases: Cases, falls: Tensor, sums: Tensor, missing: dict[str, Tensor]) -> Values:
    """Pearson's correlation of each case's rows."""
    flat = cases.maps.flatten(1)
    missing = {
        **missing,
        CONSTANT_MAP: flat.amax(1) == flat.amin(1),
        CONSTANT_SCORE: falls.amax(1) == falls.amin(1),
    }
    return Values(pearson(falls, sums), missing)


def pearson(a: Tensor, b: Tensor) -> Tensor:
    """The correlation of the rows of (P, N) with each other, (P,)."""
    a, b = (one - one.mean(dim=1, keepdim=True) for one in (a, b))
    return (a * b).sum(1) / (a.square().sum(1) * b.square().sum(1)).sqrt()


def pixels(count: int, space: torch.Size) -> Draw:
    """Parts of ``count`` random pixels."""

    def draw(generator: torch.Generator) -> Tensor:
        chosen = torch.randperm(space.numel(), generator=generator)[:count]
        return torch.zeros(space.numel(), dtype=torch.bool).index_fill_(0, chosen, True).view(space)

    return draw


def boxes(side: float, space: torch.Size) -> Draw:
    """Boxes of a share of each side of the image, at random places within it."""
    lengths = [max(1, round(side * length)) for length in space]

    def draw(generator: torch.Generator) -> Tensor:
        found = torch.zeros(space, dtype=torch.bool)
        starts = [
            int(torch.randint(whole - length + 1, (), generator=generator))
            for whole, length in zip(space, lengths, strict=True)
        ]
        found[tuple(slice(start, start + length) for start, length in zip(starts, lengths, strict=True))] = True
        return found

    return draw


def check_score(score: str) -> None:
    """Raise ``OptionError`` unless a score is one that there is."""
    if score not in get_args(Score):
        raise OptionError(f"score={score!r} was set; it may be {' or '.join(get_args(Score))}")


def check_share(name: str, share: float) -> None:
    """Raise ``OptionError`` unless an option is a share."""
    if not 0 < share < 1:
        raise OptionError(f"{name}={share} was set; it must be a share above 0 and below 1, such as 0.1")


def check_samples(samples: int) -> None:
    """Raise ``OptionError`` unless there are enough parts for a correlation."""
    check_count("samples", samples, least=3)
