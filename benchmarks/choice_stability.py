"""How far a choice depends on the images that it was made on: halves of images, and their number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.choice_judged import RUNTIME, Setting
from pellucid.choosing.donors import Asked, given
from pellucid.choosing.fillings import named
from pellucid.choosing.grading import grades
from pellucid.choosing.maps import Maps
from pellucid.choosing.measuring import BOTH, Measured, batches, measured, wholes
from pellucid.choosing.pairs import Pair
from pellucid.choosing.passes import pairs_to_try
from pellucid.choosing.stages import FIRST, FRACTIONS, Ranked
from pellucid.choosing.subjects import Subjects
from pellucid.choosing.trust import trials
from pellucid.core.inputs import Inputs
from pellucid.core.target import Targets
from pellucid.metrics.pointing import pointing_hits
from pellucid.models.session.session import Session
from pellucid.models.session.thread_state import kept

SPLITS = 20
COUNTS = (8, 12, 16, 20, 32, 50, 75, 100, 150, 200)
DRAWS = 20
"""Draws of so many images, for the width of the interval."""


@dataclass(frozen=True)
class Stability:
    """The hits (rates on the same other images) of both halves' choices, and what they chose.

    ``widths`` are the median widths of the chosen pair's interval in the first stage, by the number of images (None:
    withheld), and ``picks`` the least, median and most hits of what is chosen by so many.
    """

    hits: list[list[float]]
    chosen: list[list[str]]
    widths: dict[str, float | None]
    picks: dict[str, list[float]]
    best: float

    def stored(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def stability(one: Setting, images: int) -> Stability:
    """Choose by both halves of the first ``images``, again and again, and by growing numbers of all."""
    return kept(lambda: _stability(one, images))


def _stability(one: Setting, images: int) -> Stability:
    session = Session.of(one.network, RUNTIME, one.head, None, None)
    subjects = Subjects.of(session, Inputs.of(one.images), Targets(one.classes[:, None], head=one.head))
    if one.reference is None:
        raise ValueError("a reference is needed")
    tissue = given(Asked(one.images, one.classes, None), one.reference, 0)
    pairs, _, deepest = pairs_to_try(subjects, None, ())
    pairs = [pair for pair in pairs if not pair.excluded]
    hits = _hits(session, one, pairs)
    fillings = {**named(0), **tissue.filling()}
    known = subjects.some(torch.arange(images))
    whole = wholes(known, fillings)
    passed = [trial for trial in trials(known, whole, fillings, deepest, None, 0) if not trial.refused]
    usable = [trial.name for trial in sorted(passed, key=lambda trial: trial.distance)]
    found = measured(known, whole, Maps.of(pairs, known), {name: fillings[name] for name in usable}, FRACTIONS, BOTH)
    halves, names = [], []
    for split in range(SPLITS):
        order = np.random.default_rng(split).permutation(images)
        both = [_choice(found, pairs, part, usable) for part in (order[: images // 2], order[images // 2 :])]
        halves.append([float(hits[number].mean()) for number in both])
        names.append([_name(pairs[number]) for number in both])
    widths, picks = _growth(subjects, fillings[usable[0]], usable[0], pairs, hits)
    return Stability(halves, names, widths, picks, float(hits.mean(1).max()))


def _name(pair: Pair) -> str:
    return f"{pair.method.name} at {', '.join(pair.layers)}" if pair.layers else pair.method.name


def _hits(session: Session, one: Setting, pairs: Sequence[Pair]) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Whether each pair hits, (pairs, P)."""
    truth = one.truth
    subjects = Subjects.of(session, Inputs.of(truth.images), Targets(truth.classes[:, None], head=one.head))
    maps, parts = Maps.of(pairs, subjects), list[Tensor]()
    for numbers in batches(subjects):
        heats = maps.each(subjects, subjects.prepared(numbers), subjects.targets.rows(numbers))
        parts.append(torch.stack([pointing_hits(heat, truth.masks[numbers], one.tolerance) for heat in heats]))
    return torch.cat(parts, 1).numpy()


def _choice(found: Measured, pairs: Sequence[Pair], numbers: np.ndarray[Any, Any], usable: Sequence[str]) -> int:
    """What the two stages choose on some of the images; what replaces was tested on all."""
    some = _some(found, numbers)
    first = Measured((FIRST,), some.plain, some.whole, {name: each[:, 1:2] for name, each in some.deleted.items()}, {})
    ranked = Ranked(pairs, grades(first, usable[:1]))
    best = ranked.best()
    second = Measured(
        some.fractions,
        some.plain,
        some.whole,
        {name: each[best] for name, each in some.deleted.items()},
        {name: each[best] for name, each in some.inserted.items()},
    )
    return best[Ranked([pairs[number] for number in best], grades(second, usable)).won()]


def _some(found: Measured, numbers: np.ndarray[Any, Any]) -> Measured:
    return Measured(
        found.fractions,
        found.plain[numbers],
        {name: each[numbers] for name, each in found.whole.items()},
        {name: each[..., numbers] for name, each in found.deleted.items()},
        {name: each[..., numbers] for name, each in found.inserted.items()},
    )


def _growth(
    subjects: Subjects, filling: Any, name: str, pairs: Sequence[Pair], hits: np.ndarray[Any, Any]
) -> tuple[dict[str, float | None], dict[str, list[float]]]:
    """The width of the chosen pair's interval by the first stage, and its hits, by the number of images."""
    whole = wholes(subjects, {name: filling})
    kinds = {"deleted": BOTH["deleted"]}
    found = measured(subjects, whole, Maps.of(pairs, subjects), {name: filling}, (FIRST,), kinds)
    widths: dict[str, float | None] = {}
    picks: dict[str, list[float]] = {}
    for count in (count for count in COUNTS if count <= len(subjects)):
        own, chosen = [], []
        for draw in range(DRAWS):
            generator = np.random.default_rng(draw)
            numbers = generator.permutation(len(subjects))[:count]
            ranked = Ranked(pairs, grades(_some(found, numbers), [name]))
            won = ranked.won()
            own.append(ranked.grades.interval(won, None, generator).width)
            chosen.append(float(hits[won].mean()))
        widths[str(count)] = None if np.isnan(own).any() else float(np.median(own))
        picks[str(count)] = [float(value) for value in np.quantile(chosen, (0, 0.5, 1))]
    return widths, picks
