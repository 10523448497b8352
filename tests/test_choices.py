"""The tables of choices: what is stored, the best pair in hindsight, and what the page says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from benchmarks import choices
from benchmarks.choice_judged import Judged, Outcome, hindsight, ranking
from benchmarks.choice_page import chosen_of, convention_of, is_family, page, title

ROOT = Path(__file__).parents[1]


def pair(name: str, near: list[int], grade: float | None = None, **more: object) -> Judged:
    return Judged(name, ("layer1",), near, near[::-1], 0.25, "", grade, grade, **more)  # type: ignore[arg-type]  # as given


def outcome() -> Outcome:
    pairs = [
        pair("a", [1, 1, 1, 0, 1, 1, 1, 1], 0.9, is_chosen=True),
        pair("b", [0, 1, 0, 0, 0, 1, 0, 0], 0.5, is_convention=True),
        pair("c", [0, 0, 0, 0, 0, 0, 0, 1], 0.1),
    ]
    return Outcome("chosen: a", {"noise": "why"}, pairs, [0, 1, 1, 1, 1, 1, 1, 0], 40, 1000, [0.99])


def test_what_is_stored_is_read_again() -> None:
    stored = json.loads(json.dumps(outcome().stored()))
    assert Outcome.of(stored) == outcome()


def test_the_best_in_hindsight_is_found_and_scored_on_different_halves() -> None:
    one, two = pair("a", [1] * 4 + [0] * 4), pair("b", [0] * 4 + [1] * 4)
    found = hindsight([one, two], seed=0)
    assert len(found.near) == 4
    assert sum(found.near) <= 2  # of four hits it had most in the other half, which found it


def test_the_rank_correlation_is_over_graded_pairs() -> None:
    pairs = [*outcome().pairs, pair("d", [1] * 8)]
    assert ranking(pairs, "grade") == pytest.approx(1.0)


def test_the_page_has_a_row_a_network() -> None:
    text = page({"cnn-1": outcome(), "ultrasound": outcome()}, None)
    assert "| ResNet, stride 8, seed 1 | 0.990 | a at layer1 | 88 (" in text
    share = sum(outcome().pairs[0].near) / 8 / (sum(hindsight(outcome().pairs).near) / 4)
    assert f"On {int(share >= 0.9)} its hits are at least 90 %" in text
    assert "noise: why" in text


def test_what_is_no_network_of_a_family_stands_apart() -> None:
    """A network with other images counts neither among the networks nor in the sentence about them."""
    text = page({"cnn-1": outcome(), "cnn-2, redrawn": outcome(), "ultrasound": outcome()}, None)
    networks, _, others = text.partition("### Elsewhere")
    assert "A choice was made on 1 of 1 networks." in networks
    assert title("cnn-2, redrawn") == "ResNet, stride 8, seed 2, redrawn"
    assert "| ResNet, stride 8, seed 2, redrawn | 0.990 |" in others
    assert "| ultrasound |" in others
    assert "redrawn" not in networks


def test_the_published_page_is_that_of_the_stored_results() -> None:
    """And its sentence counts what the figures say."""
    known = choices.read()
    halves = json.loads((ROOT / "docs/results/choices_stability.json").read_text())
    assert (ROOT / "docs/results/choices.md").read_text() == page(known, choices.Stability(**halves))
    networks = [one for name, one in known.items() if is_family(name)]
    made = sum(chosen_of(one) is not None for one in networks)
    above = sum(
        sum(chosen.near) > sum(convention_of(one).near) for one in networks if (chosen := chosen_of(one)) is not None
    )
    text = choices.page(known, None)
    found = re.search(r"A choice was made on (\d+) of (\d+) networks. On \d+ .* and on (\d+) above", text)
    assert found is not None
    assert [int(number) for number in found.groups()] == [made, len(networks), above]


def test_what_the_documentation_says_of_tolerance_0_is_in_the_table() -> None:
    results = (ROOT / "docs/results/choices.md").read_text().partition("(tolerance 0)")[2].partition("### Elsewhere")[0]
    rows = re.findall(r"^\| [^|]+ seed \d \| (\d+) [^|]*\|[^|]*\| (\d+) ", results, re.MULTILINE)
    behind = [int(best) - int(chosen) for chosen, best in rows if int(chosen) < int(best)]
    said = " ".join((ROOT / "docs/choosing.md").read_text().split())
    assert f"best pair in hindsight on {len(behind)} of {len(rows)} networks, by up to {max(behind)} of 100" in said
    assert [chosen for chosen, best in rows if int(best) - int(chosen) == max(behind)] == ["48"]  # guided Grad-CAM
