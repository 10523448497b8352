"""Grades beside a naive replica, and what they must show by construction."""

from __future__ import annotations

import numpy as np
import pytest

from pellucid.choosing.grading import agreement, grades, part_of
from pellucid.choosing.measuring import Measured
from pellucid.choosing.trust import is_ahead_of_chance, lower_limit


def drawn(pairs: int = 4, images: int = 12, seed: int = 0, insertion: bool = True) -> Measured:
    """Scores of two replacements, three fractions."""
    rng = np.random.default_rng(seed)
    plain = rng.uniform(0.6, 1.0, images)
    whole = {name: rng.uniform(0.0, 0.3, images) for name in ("a", "b")}
    deleted = {name: rng.uniform(0, 1, (pairs, 3, images)) for name in ("a", "b")}
    inserted = {name: rng.uniform(0, 1, (pairs, 3, images)) for name in ("a", "b")} if insertion else {}
    return Measured((0.01, 0.02, 0.1), plain, whole, deleted, inserted)


def naive(found: Measured, names: list[str], pair: int) -> float:
    """The formula of the docstring, in loops over plain numbers."""
    total = 0.0
    for name in names:
        kinds = []
        for kind in ("D", "I") if name in found.inserted else ("D",):
            above = below = 0.0
            for number, fraction in enumerate(found.fractions):
                done = full = 0.0
                for image in range(len(found.plain)):
                    full += found.plain[image] - found.whole[name][image]
                    if kind == "D":
                        done += found.plain[image] - found.deleted[name][pair, number, image]
                    else:
                        done += found.inserted[name][pair, number, image] - found.whole[name][image]
                above += done / full / fraction
                below += 1 / fraction
            kinds.append(above / below)
        total += sum(kinds) / len(kinds)
    return total / len(names)


@pytest.mark.parametrize("insertion", [False, True])
@pytest.mark.parametrize("names", [["a"], ["a", "b"]])
def test_the_formula(names: list[str], insertion: bool) -> None:
    found = drawn(insertion=insertion)
    expected = [naive(found, names, pair) for pair in range(4)]
    assert grades(found, names).values == pytest.approx(expected, abs=1e-12)


def test_the_parts_are_the_linear_expansion() -> None:
    """Leaving one image out changes the grade by its part, to first order: the jackknife's influence."""
    found = drawn(images=400)
    made = grades(found, ["a"])
    assert made.parts.mean(axis=1) == pytest.approx(made.values)
    for image in (0, 17):
        rest = np.delete(np.arange(400), image)
        without = part_of(found, "a", rest)
        influence = (made.values - without) * 399
        assert influence == pytest.approx(made.parts[:, image] - made.values, abs=0.02)


def test_a_map_that_takes_all_away_has_one_and_one_that_does_nothing_zero() -> None:
    plain, whole = np.full(8, 0.9), np.full(8, 0.1)
    deleted = np.stack([np.full((3, 8), 0.1), np.full((3, 8), 0.9)])
    inserted = np.stack([np.full((3, 8), 0.9), np.full((3, 8), 0.1)])
    found = Measured((0.01, 0.02, 0.1), plain, {"a": whole}, {"a": deleted}, {"a": inserted})
    assert grades(found, ["a"]).values == pytest.approx([1, 0])


def test_small_fractions_count_more() -> None:
    plain, whole = np.full(8, 1.0), np.zeros(8)
    early, late = np.ones((3, 8)), np.ones((3, 8))
    early[0], late[2] = 0, 0
    found = Measured((0.01, 0.02, 0.1), plain, {"a": whole}, {"a": np.stack([early, late])}, {})
    assert grades(found, ["a"]).values == pytest.approx([100 / 160, 10 / 160])


def test_agreement_of_halves() -> None:
    rng = np.random.default_rng(1)
    found = drawn(pairs=8, images=40)
    level = np.linspace(0, 1, 8)[:, None, None]
    alike = Measured(found.fractions, found.plain, found.whole, {"a": level + rng.normal(0, 0.01, (8, 3, 40))}, {})
    noise = Measured(found.fractions, found.plain, found.whole, {"a": rng.normal(0, 1, (8, 3, 40))}, {})
    assert agreement(alike, "a", np.random.default_rng(0)) > 0.95
    assert abs(agreement(noise, "a", np.random.default_rng(0))) < 0.5
    assert np.isnan(agreement(drawn(pairs=2), "a", np.random.default_rng(0)))


def test_the_best_of_many_that_do_nothing_is_not_ahead_of_chance() -> None:
    """Of thirty useless maps one does best on the same images; judged on other images it does not."""
    rng = np.random.default_rng(2)
    ahead = 0
    for _ in range(60):
        useless = rng.normal(0.5, 0.2, (30, 1, 24))
        found = Measured((0.02,), np.ones(24), {"a": np.zeros(24)}, {"a": useless}, {})
        ahead += is_ahead_of_chance(found, "a", rng.normal(0.5, 0.2, 24), range(len(found.deleted["a"])), rng)
    assert ahead <= 9  # 5 % of 60 are 3; 9 or more have a probability below .005
    one_works = useless.copy()
    one_works[7] = 0.0
    found = Measured((0.02,), np.ones(24), {"a": np.zeros(24)}, {"a": one_works}, {})
    random = rng.normal(0.5, 0.2, 24)
    assert is_ahead_of_chance(found, "a", random, range(30), rng)
    assert not is_ahead_of_chance(found, "a", random - 0.5, [3, 9], rng)  # the one that works cannot be chosen
    useful = Measured((0.02,), np.ones(24), {"a": np.zeros(24)}, {"a": useless - 0.3}, {})
    assert is_ahead_of_chance(useful, "a", rng.normal(0.5, 0.2, 24), [0, 1], rng)


def test_the_lower_limit_is_that_of_students_t() -> None:
    values = np.array([0.1, 0.3, 0.2, 0.6])
    half = 2.353363 * values.std(ddof=1) / 2  # the 95 % quantile of t with 3 degrees of freedom
    assert lower_limit(values) == pytest.approx(values.mean() - half, abs=1e-6)
    assert lower_limit(values[:1]) == -np.inf
