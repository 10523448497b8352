"""The two stages of a choice: a cheap one for all pairs, and a thorough one for the best of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from pellucid.choosing.fillings import Filling, squares
from pellucid.choosing.grading import Grades, grades
from pellucid.choosing.maps import Maps
from pellucid.choosing.measuring import BOTH, DELETION, Array, Kinds, Measured, batches, measured, wholes
from pellucid.choosing.pairs import Pair, gradient_methods, layers_to_try, pairs_of, perturbing_methods
from pellucid.choosing.passes import costed, those_that_apply
from pellucid.choosing.subjects import Subjects
from pellucid.choosing.trust import agreed, is_ahead_of_chance, trials
from pellucid.core import catalogue
from pellucid.core.choice import Choice, GradedPair, ReplacementTrial
from pellucid.core.method import Method

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


def none(reason: str, images: int, tried: Trials = (), rows: Sequence[GradedPair] = ()) -> Choice:
    """No choice, and why."""
    ordered = sorted(rows, key=lambda one: -one.grade)
    return Choice(tuple(ordered), tuple(tried), None, f"no choice: {reason}", images)


@dataclass(frozen=True, eq=False)
class Stages:
    """What is measured on the subjects. ``candidates`` None are all methods; ``layers`` () are those to try."""

    subjects: Subjects
    fillings: Mapping[str, Filling]
    candidates: Sequence[str | Method] | None
    layers: tuple[str, ...]
    patients: Sequence[object] | None
    seed: int

    def choice(self, *, full: bool) -> Choice:
        """Test what replaces, grade the pairs, and choose; ``full``: by the second stage as well."""
        whole = wholes(self.subjects, self.fillings)
        groups = layers_to_try(self.subjects, self.layers)
        tried = trials(self.subjects, whole, self.fillings, groups[-1].layers[-1], self.seed)
        usable = sorted((one for one in tried if not one.refused), key=lambda one: one.distance)
        if not usable:
            return none(_NO_TRUST, len(self.subjects), tried)
        if self.candidates is None:
            pairs = those_that_apply(self.subjects, pairs_of(gradient_methods(), groups))
            later = pairs_of(perturbing_methods(), groups)
        else:
            pairs, later = costed(self.subjects, pairs_of(self.candidates, groups)), []
        for one in usable:  # the most data-like first
            found = self._measured(whole, pairs, [one.name], (FIRST,), DELETION)
            judged = agreed(one, found, self._generator())
            tried = [judged if other.name == one.name else other for other in tried]
            if judged.refused:
                continue
            graded = grades(found, [one.name])
            rows = self._rows(pairs, graded, 1)
            if not self._is_ahead(found, one.name):
                return none(f"{_BY_CHANCE} (by {one.name})", len(self.subjects), tried, rows)
            if not full:
                return self._decided(pairs, graded, rows, (), tried)
            return self._second(whole, pairs, graded, rows, later, tried)
        return none(_NO_TRUST, len(self.subjects), tried)

    def _second(
        self,
        whole: Measured,
        pairs: Sequence[Pair],
        first: Grades,
        rows: Sequence[GradedPair],
        later: Sequence[Pair],
        tried: Trials,
    ) -> Choice:
        """The choice by all replacements that passed, of the best pairs and those that are only measured now."""
        best = np.argsort(-first.values)[:SECOND].tolist()
        chosen = [*(pairs[number] for number in best), *those_that_apply(self.subjects, later)]
        names = [one.name for one in tried if not one.refused]
        found = self._measured(whole, chosen, names, FRACTIONS, BOTH)
        tried = [one if one.refused else agreed(one, found, self._generator()) for one in tried]
        passed = [one.name for one in tried if not one.refused]
        rest = [row for number, row in enumerate(rows) if number not in best]
        if not passed:
            return none(_NO_TRUST, len(self.subjects), tried, rows)
        graded = grades(found, passed)
        return self._decided(chosen, graded, self._rows(chosen, graded, 2), rest, tried)

    def _decided(
        self,
        pairs: Sequence[Pair],
        graded: Grades,
        rows: Sequence[GradedPair],
        rest: Sequence[GradedPair],
        tried: Trials,
    ) -> Choice:
        """The choice among these pairs; ``rest`` are rows that are shown and did not come so far."""
        able = [number for number in range(len(pairs)) if not pairs[number].excluded]
        able = able or list(range(len(pairs)))  # none is left: why they should not be chosen is in the table
        least = max(graded.values[number] for number in able) - TIE
        near = [number for number in able if graded.values[number] >= least]
        won = min(near, key=lambda one: (pairs[one].passes, not pairs[one].is_convention, -graded.values[one]))
        ordered = sorted(rows, key=lambda row: -row.grade)
        reason = self._ahead(graded, rows, won, [number for number in able if number != won])
        shown = (*ordered, *sorted(rest, key=lambda row: -row.grade))
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
        return measured(self.subjects, whole, Maps.of(pairs, self.subjects), chosen, fractions, kinds)

    def _is_ahead(self, found: Measured, name: str) -> bool:
        return is_ahead_of_chance(found, name, self._at_random(name), self._generator())

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

    def _rows(self, pairs: Sequence[Pair], graded: Grades, stage: int) -> list[GradedPair]:
        return [self._row(pair, graded, number, stage) for number, pair in enumerate(pairs)]

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
