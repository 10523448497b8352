"""A choice beside the truth: how often the maps of every pair find what they should, on images that did not choose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

import pellucid
from pellucid.choosing.maps import Maps
from pellucid.choosing.measuring import batches
from pellucid.choosing.passes import pairs_to_try, those_that_apply
from pellucid.choosing.subjects import Subjects
from pellucid.core.choice import Choice
from pellucid.core.inputs import Inputs
from pellucid.core.replacement import References
from pellucid.core.runtime import Runtime
from pellucid.core.target import Targets
from pellucid.metrics.pointing import pointing_hits
from pellucid.metrics.relevance_mass import mass_in
from pellucid.models.session.session import Session
from pellucid.models.session.thread_state import kept
from pellucid.statistics import proportion

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
RUNTIME = Runtime(batch_size=256 if DEVICE == "cuda" else 32)


@dataclass(frozen=True, eq=False)
class Truth:
    """Images (P, C, H, W) with a class each, (P,), and the mask of it, (P, H, W)."""

    images: Tensor
    classes: Tensor
    masks: Tensor


@dataclass(frozen=True, eq=False)
class Setting:
    """A network with the images that choose, and those with masks that judge."""

    network: nn.Module
    head: str
    images: Tensor
    classes: Tensor
    reference: References | None
    truth: Truth
    tolerance: float
    counterparts: Tensor | None = None
    patients: Sequence[object] | None = None


@dataclass(frozen=True)
class Judged:
    """What a pair does on the images that judge.

    ``hits`` and ``near`` (within the tolerance) are 0 or 1 for each image, ``mass`` the mean share in the mask.
    ``grade`` is None of a pair that was not graded, ``first`` the grade of the first stage (2 % alone, deletion).
    """

    method: str
    layers: tuple[str, ...]
    near: list[int]
    hits: list[int]
    mass: float
    excluded: str
    grade: float | None = None
    first: float | None = None
    is_convention: bool = False
    is_chosen: bool = False

    @property
    def name(self) -> str:
        """The pair as a reader sees it."""
        return f"{self.method} at {', '.join(self.layers)}" if self.layers else self.method


@dataclass(frozen=True)
class Outcome:
    """A network's choice beside the truth; ``called`` says of each judging image whether the network was right."""

    reason: str
    replacements: dict[str, str]
    pairs: list[Judged]
    called: list[int]
    images: int
    passes: int
    auc: list[float] = field(default_factory=list)

    def stored(self) -> dict[str, Any]:
        """As plain values; hits as hexadecimal bits."""
        found = asdict(self)
        for pair in found["pairs"]:
            pair |= {name: _packed(pair[name]) for name in ("near", "hits")}
            pair |= {name: pair[name] and round(pair[name], 4) for name in ("mass", "grade", "first")}
        return found | {"called": _packed(self.called), "count": len(self.called)}

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> Outcome:
        """From plain values."""
        known = dict(stored)
        count = known.pop("count")
        pairs = [
            Judged(
                **{
                    **one,
                    "layers": tuple(one["layers"]),
                    **{name: _unpacked(one[name], count) for name in ("near", "hits")},
                }
            )
            for one in known["pairs"]
        ]
        return cls(**{**known, "pairs": pairs, "called": _unpacked(known["called"], count)})


def _packed(bits: Sequence[int]) -> str:
    return f"{int(''.join(map(str, bits)) or '0', 2):x}"


def _unpacked(text: str, count: int) -> list[int]:
    return [int(bit) for bit in f"{int(text, 16):0{count}b}"]


def judged(one: Setting, *, perturbing: bool) -> Outcome:
    """Choose, as a user does, and look at the masks of other images afterwards.

    ``perturbing``: methods that ask for scores alone are tried, too; they take most of the time.
    """
    return kept(lambda: _judged(one, perturbing=perturbing))  # as within the package: gradients only where asked for


def _judged(one: Setting, *, perturbing: bool) -> Outcome:
    network = one.network.to(DEVICE)
    session = Session.of(network, RUNTIME, one.head, None, None)
    inputs = Inputs.of(one.truth.images)
    subjects = Subjects.of(session, inputs, Targets(one.truth.classes[:, None], head=one.head))
    pairs, later, _ = pairs_to_try(subjects, None, ())
    candidates = None if perturbing else list(dict.fromkeys(pair.method.name for pair in pairs))
    later = later if perturbing else []
    options: dict[str, Any] = {
        "targets": one.classes,
        "reference": one.reference,
        "counterparts": one.counterparts,
        "patients": one.patients,
        "candidates": candidates,
        "head": one.head,
        "runtime": RUNTIME,
    }
    choice = pellucid.choose(network, one.images, **options)
    first = pellucid.choose(network, one.images, **options, full=False)
    seen = subjects.probabilities().cpu()
    called = _called(seen, one.truth.classes, one.head)
    rows = _rows(subjects, one, [*pairs, *those_that_apply(subjects, later)])
    return Outcome(
        choice.reason,
        {trial.name: trial.refused for trial in choice.replacements},
        [_with_grades(row, choice, first) for row in rows],
        called.int().tolist(),
        choice.images,
        choice.passes,
    )


def _called(seen: Tensor, classes: Tensor, head: str) -> Tensor:
    own = seen.gather(1, classes[:, None])[:, 0]
    return own >= 0.5 if head == "sigmoid" else own >= seen.amax(1)


def _rows(subjects: Subjects, one: Setting, pairs: Sequence[Any]) -> list[Judged]:
    near: list[list[Tensor]] = [[] for _ in pairs]
    hits: list[list[Tensor]] = [[] for _ in pairs]
    mass: list[list[Tensor]] = [[] for _ in pairs]
    maps = Maps.of(pairs, subjects)
    for numbers in batches(subjects):
        masks = one.truth.masks[numbers]
        inputs, targets = subjects.prepared(numbers), subjects.targets.rows(numbers)
        for place, found in enumerate(maps.each(subjects, inputs, targets)):
            heat = found.cpu()
            near[place].append(pointing_hits(heat, masks, one.tolerance))
            hits[place].append(pointing_hits(heat, masks))
            mass[place].append(mass_in(heat, masks))
    return [
        Judged(
            pair.method.name,
            pair.layers,
            torch.cat(near[place]).int().tolist(),
            torch.cat(hits[place]).int().tolist(),
            float(torch.cat(mass[place]).mean()),
            pair.excluded,
            is_convention=pair.is_convention,
        )
        for place, pair in enumerate(pairs)
    ]


def _with_grades(row: Judged, choice: Choice, first: Choice) -> Judged:
    key = (row.method, row.layers)
    full = {(pair.method, pair.layers): pair for pair in choice.pairs}
    alone = {(pair.method, pair.layers): pair.grade for pair in first.pairs}
    own = full.get(key)
    best = None if choice.chosen is None else (choice.best.method, choice.best.layers)
    grade = own.grade if own is not None and own.stage == 2 else None
    return Judged(**{**row.__dict__, "grade": grade, "first": alone.get(key), "is_chosen": key == best})


def rate(hits: Sequence[int]) -> str:
    """A hit rate in percent with its interval."""
    if not hits:
        return "—"
    found = proportion(hits)
    return f"{100 * found.estimate:.0f} ({100 * found.low:.0f}–{100 * found.high:.0f})"


def hindsight(pairs: Sequence[Judged], seed: int = 0) -> Judged:
    """The pair with the most hits on one half of the images; its hits are those of the other half."""
    count = len(pairs[0].near)
    order = np.random.default_rng(seed).permutation(count)
    own, other = order[: count // 2], order[count // 2 :]
    best = max(pairs, key=lambda pair: sum(pair.near[number] for number in own))
    return Judged(**{**best.__dict__, "near": [best.near[number] for number in other]})


def ranking(pairs: Sequence[Judged], by: str) -> float:
    """The rank correlation of a grade with the hits, over the pairs that have one."""
    graded = [(getattr(pair, by), np.mean(pair.near)) for pair in pairs if getattr(pair, by) is not None]
    return float(spearmanr(*zip(*graded, strict=True)).statistic) if len(graded) > 2 else float("nan")
