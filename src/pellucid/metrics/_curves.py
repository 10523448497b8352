"""Scores of images in which more and more pixels are replaced, in the order of a map: what several metrics share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.core.metric import CONSTANT_MAP, Cases
from pellucid.core.ranking import among_first, parts, ranks
from pellucid.core.replacement import NOT_LOWERED, Replacement, stand_ins
from pellucid.errors import OptionError


@dataclass(frozen=True, eq=False)
class Curves:
    """Scores (P, steps + 1) with 0 to all of the pixels replaced, by the order of the maps, highest first.

    ``missing`` and ``notes`` are those of the values that are made of them.
    """

    scores: Tensor
    missing: Mapping[str, Tensor]
    notes: Mapping[str, Tensor]


def deleted(cases: Cases, steps: int, baseline: Replacement) -> Curves:
    """The scores with the first 0 to all pixels of the order replaced. The image as it is is not passed again."""
    found = stand_ins(baseline, cases)
    scores = torch.cat([cases.probabilities[:, None], _mixed(cases, steps, found.images[0], cases.images, 1)], dim=1)
    return Curves(scores, found.reasons(), notes(cases, scores[:, -1]))


def inserted(cases: Cases, steps: int, baseline: Replacement) -> Curves:
    """The scores with the first 0 to all pixels of the order left, and the others replaced."""
    found = stand_ins(baseline, cases)
    scores = torch.cat([_mixed(cases, steps, cases.images, found.images[0], 0), cases.probabilities[:, None]], dim=1)
    return Curves(scores, found.reasons(), notes(cases, scores[:, 0]))


def _mixed(cases: Cases, steps: int, first: Tensor, rest: Tensor, start: int) -> Tensor:
    """The scores (P, steps) of ``rest`` with the first pixels of the order from ``first``.

    These are ``start`` of the ``steps`` equal parts of all pixels in the first step, and one part more in each step.
    """
    ranked = ranks(cases.maps, cases.generator())
    counts = parts(ranked[:1].numel(), steps, ranked.device)[start:]

    def variant(which: Tensor, step: Tensor) -> Tensor:
        return torch.where(among_first(ranked[which], counts[step])[:, None], first[which], rest[which])

    return cases.scores(steps, variant)


def notes(cases: Cases, replaced: Tensor) -> dict[str, Tensor]:
    """What has to be known of each value, given the scores (P,) of the images that were replaced as a whole."""
    return {NOT_LOWERED: ~(replaced < cases.probabilities), **constant(cases)}


def constant(cases: Cases) -> dict[str, Tensor]:
    """Which maps have the same value everywhere, so that their order is drawn."""
    flat = cases.maps.flatten(1)
    return {CONSTANT_MAP: flat.amax(1) == flat.amin(1)}


def check_count(name: str, value: object, least: int = 1) -> None:
    """Raise ``OptionError`` unless an option is a whole number of at least ``least``."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise OptionError(f"{name}={value!r} was set; it must be a whole number of at least {least}")
