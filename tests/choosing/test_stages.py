"""Which of graded pairs are able to be chosen, and which is."""

from __future__ import annotations

import numpy as np
import pytest

from pellucid.choosing.grading import Grades
from pellucid.choosing.pairs import LayersToTry, Pair
from pellucid.choosing.stages import SECOND, Ranked
from pellucid.core import gates
from pellucid.methods import GradCAM, GuidedBackprop, HiResCAM, Saliency


def ranked(values: list[float], *pairs: Pair) -> Ranked:
    grades = np.array(values)
    return Ranked(pairs, Grades(grades, np.tile(grades[:, None], (1, 4))))


FOUND = LayersToTry(("layer4",), 1.0, gates.FOUND)
NO_LAYERS = LayersToTry((), place=gates.WHOLE)


def test_of_a_tie_the_cheapest_is_chosen_then_the_convention() -> None:
    hires, convention, dear = Pair(HiResCAM(), FOUND, 1), Pair(GradCAM(), FOUND, 1), Pair(Saliency(), NO_LAYERS, 35)
    assert ranked([0.905, 0.9, 0.909], hires, convention, dear).won() == 1
    assert ranked([0.905, 0.8, 0.909], hires, convention, dear).won() == 0
    assert ranked([0.805, 0.8, 0.909], hires, convention, dear).won() == 2


def test_the_winner_of_a_large_tie_may_be_far_down() -> None:
    """It is one of those of the second stage all the same, which begins with it."""
    pairs = [Pair(HiResCAM(), FOUND, 1)] * 6 + [Pair(GradCAM(), FOUND, 1)]
    one = ranked([0.9 - 0.001 * number for number in range(7)], *pairs)
    assert one.won() == 6
    assert one.able().index(6) >= SECOND
    assert one.best() == [6, 0, 1, 2, 3]


def test_a_low_share_is_able_if_no_other_is_left_and_a_failure_never(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = {"a cnn": {gates.WHOLE: "fails"}}
    monkeypatch.setattr(gates, "outcomes", lambda name: failed if name == "guided_backprop" else {})
    low = Pair(HiResCAM(), LayersToTry(("layer1",), 0.3), 1)
    failing, good = Pair(GuidedBackprop(), NO_LAYERS, 1), Pair(Saliency(), NO_LAYERS, 1)
    assert ranked([0.9, 0.8, 0.1], failing, low, good).able() == [2]
    assert ranked([0.9, 0.8], failing, low).able() == [1]


def test_a_method_that_fails_at_one_place_of_one_kind_is_able_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes = {
        "a_cnn": {gates.EARLY: "fails", gates.MIDDLE: "passes"},
        "a_vit": {gates.FOUND: "fails"},
        "another_cnn": {gates.FOUND: "passes"},
    }
    monkeypatch.setattr(gates, "outcomes", lambda name: outcomes if name == "hirescam" else {})
    early = Pair(HiResCAM(), LayersToTry(("layer1",), 1.0, gates.EARLY), 1)
    assert early.failure == "fails against random weights (early in a_cnn)"
    assert not Pair(HiResCAM(), FOUND, 1).failure
    assert not Pair(HiResCAM(), LayersToTry(("layer2",), 1.0), 1).failure
    assert not Pair(HiResCAM(), LayersToTry(("blocks.0",), 1.0, gates.EARLY, attends=True)).failure
    failing = Pair(HiResCAM(), LayersToTry(("norm",), 1.0, gates.FOUND, attends=True))
    assert failing.failure == "fails against random weights (found in a_vit)"
    assert ranked([0.9, 0.8], early, Pair(HiResCAM(), FOUND, 1)).able() == [1]
