"""The two stages of a choice: a cheap one for all pairs, and a thorough one for the best of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from pellucid.choosing.fillings import Filling, squares
from pellucid.choosing.grading import Grades, grades
from pellucid.choosing.maps import Maps
from pellucid.choosing.measuring import BOTH, DELETION, Array, Kinds, Measured, batches, measured, wholes
from pellucid.choosing.pairs import Pair
from pellucid.choosing.passes import passes_of, those_that_apply
from pellucid.choosing.subjects import Subjects
from pellucid.choosing.trust import agreed, is_ahead_of_chance, trials
from pellucid.core import catalogue
from pellucid.core.choice import Choice, GradedPair, ReplacementTrial

FIRST = 0.02
"""The fraction of the pixels in the first stage."""
FRACTIONS = (0.01, 0.02, 0.05, 0.1)
"""The fractions in the second stage."""
SECOND = 5
"""The pairs of the first stage that enter the second."""
TIE = 0.01
"""Grades that differ by no more count as equal: the cheaper pair is chosen, then the convention."""
_NO_TRUST = "no replacement can be trusted on these images"
_BY_CHANCE = "the marked pixels do no more than as many at random places"

Trials = Sequence[ReplacementTrial]
Told = Callable[[int], None]


@dataclass(frozen=True, eq=False)
class Ranked:
    """Pairs with their grades."""

    pairs: Sequence[Pair]
    grades: Grades

    def able(self) -> list[int]:
        """The numbers of the pairs that can be chosen, the best first; one has passed the gates at least.

        A low share keeps a pair from being chosen unless no other is left.
        """
        order = [number for number in np.argsort(-self.grades.values).tolist() if not self.pairs[number].failure]
        return [number for number in order if not self.pairs[number].excluded] or order

    def won(self) -> int:
        """The number of the chosen pair: of those within a tie, the cheapest, then the convention, then the best."""
        able = self.able()
        least = self.grades.values[able[0]] - TIE
        near = [number for number in able if self.grades.values[number] >= least]
        return min(near, key=lambda one: (self.pairs[one].passes, not self.pairs[one].is_convention, able.index(one)))

    def best(self) -> list[int]:
        """Those that enter the second stage: the chosen one, which may be far down in a tie, and the best."""
        return list(dict.fromkeys([self.won(), *self.able()]))[:SECOND]


def _by_grade(row: GradedPair) -> float:
    return -row.grade


def none(reason: str, images: int, tried: Trials = (), rows: Sequence[GradedPair] = ()) -> Choice:
    """No choice, and why."""
    ordered = sorted(rows, key=_by_grade)
    return Choice(tuple(ordered), tuple(tried), None, f"no choice: {reason}", images)


@dataclass(frozen=True, eq=False)
class Stages:
    """What is measured on the subjects. ``pairs`` are graded first; ``later`` by the second stage alone, if they apply.

    ``deepest`` is the layer whose features tell whether images are of their kind. ``told`` is called with the passes of
    each stage before it starts.
    """

    subjects: Subjects
    fillings: Mapping[str, Filling]
    pairs: Sequence[Pair]
    later: Sequence[Pair]
    deepest: str
    patients: Sequence[object] | None
    seed: int
    told: Told

    def choice(self, *, full: bool) -> Choice:
        """Test what replaces, grade the pairs, and choose; ``full``: by the second stage as well."""
        if all(pair.failure for pair in self.pairs):
            return none("every candidate fails against random weights", len(self.subjects))
        whole = wholes(self.subjects, self.fillings)
        tried = trials(self.subjects, whole, self.fillings, self.deepest, self.patients, self.seed)
        usable = sorted((one for one in tried if not one.refused), key=lambda one: one.distance)
        for one in usable:  # the most data-like first
            found = self._measured(whole, self.pairs, [one.name], (FIRST,), DELETION)
            judged = agreed(one, found, self._generator())
            tried = [judged if other.name == one.name else other for other in tried]
            if judged.refused:
                continue
            first = Ranked(self.pairs, grades(found, [one.name]))
            rows = self._rows(first, 1)
            if not self._is_ahead(found, one.name, first.able()):
                return none(f"{_BY_CHANCE} (by {one.name})", len(self.subjects), tried, rows)
            if not full:
                return self._decided(first, rows, (), tried)
            return self._second(whole, first, rows, tried)
        return none(_NO_TRUST, len(self.subjects), tried)

    def _second(self, whole: Measured, first: Ranked, rows: Sequence[GradedPair], tried: Trials) -> Choice:
        """The choice by all replacements that passed, of the best pairs and those that are only measured now."""
        best = first.best()
        pairs = [*(self.pairs[number] for number in best), *those_that_apply(self.subjects, self.later)]
        names = [one.name for one in tried if not one.refused]
        found = self._measured(whole, pairs, names, FRACTIONS, BOTH)
        tried = [one if one.refused else agreed(one, found, self._generator()) for one in tried]
        passed = [one.name for one in tried if not one.refused]
        rest = [row for number, row in enumerate(rows) if number not in best]
        if not passed:
            return none(_NO_TRUST, len(self.subjects), tried, rows)
        second = Ranked(pairs, grades(found, passed))
        by_first = best.index(first.won())
        return self._decided(second, self._rows(second, 2), rest, tried, by_first)

    def _decided(
        self,
        ranked: Ranked,
        rows: Sequence[GradedPair],
        rest: Sequence[GradedPair],
        tried: Trials,
        by_first: int | None = None,
    ) -> Choice:
        """The choice among these pairs; ``rest`` are rows that are shown and did not come so far.

        ``by_first`` is the pair that the first stage alone would have chosen.
        """
        won = ranked.won()
        reason = self._ahead(ranked.grades, rows, won, [number for number in ranked.able() if number != won])
        if by_first not in (None, won):
            reason = f"{reason} The first stage alone would have chosen {rows[by_first]}."
        shown = (*sorted(rows, key=_by_grade), *sorted(rest, key=_by_grade))
        return Choice(shown, tuple(tried), shown.index(rows[won]), reason, len(self.subjects))

    def _ahead(self, graded: Grades, rows: Sequence[GradedPair], won: int, others: Sequence[int]) -> str:
        """How clearly the chosen pair is ahead."""
        if not others:
            return f"{rows[won]} is the only candidate"
        second = max(others, key=lambda number: graded.values[number])
        apart = graded.difference(won, second, self.patients, self._generator())
        return (
            f"chosen: {rows[won]}; its grade is {graded.values[won] - graded.values[second]:+.3f} from that of "
            f"{rows[second]} ({apart}). Faithful to the network is not right about the disease."
        )

    def _measured(
        self, whole: Measured, pairs: Sequence[Pair], names: Sequence[str], fractions: Sequence[float], kinds: Kinds
    ) -> Measured:
        chosen = {name: self.fillings[name] for name in names}
        self.told(passes_of(self.subjects, pairs, [self._draws(name) for name in names], len(fractions) * len(kinds)))
        return measured(self.subjects, whole, Maps.of(pairs, self.subjects), chosen, fractions, kinds)

    def _draws(self, name: str) -> int:
        """The variants of an image by a replacement."""
        number = torch.arange(1)
        return self.fillings[name](self.subjects.prepared(number).images, number).draws

    def _is_ahead(self, found: Measured, name: str, able: Sequence[int]) -> bool:
        return is_ahead_of_chance(found, name, self._at_random(name), able, self._generator())

    def _at_random(self, name: str) -> Array:
        """The scores (P,) with a box of the first fraction replaced, at a random place."""
        space = self.subjects.inputs.images.shape[2:]
        holes = squares(space, len(self.subjects), FIRST, torch.Generator().manual_seed(self.seed + 1))
        scores = []
        for numbers in batches(self.subjects):
            images = self.subjects.prepared(numbers).images
            changed = self.fillings[name](images, numbers).without(holes[numbers].to(images.device), 0)
            scores.append(self.subjects.scores(changed, numbers).numpy())
        return np.concatenate(scores)

    def _rows(self, ranked: Ranked, stage: int) -> list[GradedPair]:
        return [self._row(pair, ranked.grades, number, stage) for number, pair in enumerate(ranked.pairs)]

    def _row(self, pair: Pair, graded: Grades, number: int, stage: int) -> GradedPair:
        interval = graded.interval(number, self.patients, self._generator())
        return GradedPair(
            method=pair.method.name,
            layers=pair.layers,
            grade=float(graded.values[number]),
            low=interval.low,
            high=interval.high,
            passes=pair.passes,
            share=pair.share,
            stage=stage,
            excluded=pair.excluded,
            is_convention=pair.is_convention,
            options=catalogue.settings(pair.method),
        )

    def _generator(self) -> np.random.Generator:
        return np.random.default_rng(self.seed)
