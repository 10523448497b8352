"""The simulated studies have the rates and correlations that they state, and the page shows the stored results."""

from __future__ import annotations

import numpy as np
import pytest
from benchmarks import alarms, coverage, results, statistics
from benchmarks.studies import Design, beta_hits, half_zero, joint_hits, scores, skewed
from scipy.stats import binom

from pellucid.statistics.paired import mcnemar
from tests.statistics.test_paired import pair

MANY = Design(40_000, 2, 0.5, 0.4)


def of_two(patient):
    """The first and the second case of each patient that has two."""
    second = np.flatnonzero(patient[1:] == patient[:-1]) + 1
    return second - 1, second


def correlation(one, other):
    return np.corrcoef(one, other)[0, 1]


@pytest.mark.parametrize("within", [0.0, 0.5])
def test_hits_of_a_patient_correlate(within):
    rng = np.random.default_rng(1)
    patient = MANY.cases(rng)
    first, second = of_two(patient)
    for hits in (
        beta_hits(0.9, patient, within, rng),
        joint_hits([0.9], patient, Design(1, within=within), rng)[:, 0],
        scores(patient, within, rng) > -1.2816,
    ):
        assert hits.mean() == pytest.approx(0.9, abs=0.01)
        if hits.dtype == float:
            assert correlation(hits[first], hits[second]) == pytest.approx(within, abs=0.04)


def test_hits_of_methods_correlate():
    rng = np.random.default_rng(2)
    patient = MANY.cases(rng)
    hits = joint_hits([0.6, 0.6, 0.7], patient, MANY, rng)
    assert hits.mean(axis=0) == pytest.approx([0.6, 0.6, 0.7], abs=0.01)
    assert correlation(hits[:, 0], hits[:, 1]) == pytest.approx(0.4, abs=0.02)
    first, second = of_two(patient)
    assert correlation(hits[first, 0], hits[second, 0]) == pytest.approx(0.5, abs=0.03)


def test_scores_have_the_stated_means():
    normal = np.random.default_rng(3).normal(size=100_000)
    assert skewed(normal, 4).mean() == pytest.approx(0.2, abs=0.005)
    assert half_zero(normal).mean() == pytest.approx(0.25, abs=0.005)
    assert (half_zero(normal) == 0).mean() == pytest.approx(0.5, abs=0.01)


def test_the_exact_false_alarms_sum_over_all_tables():
    total = 0.0
    for wins in range(13):
        for losses in range(13 - wins):
            if mcnemar(*pair(wins, losses)) <= 0.05:
                differing = wins + losses
                total += binom.pmf(differing, 12, 0.48) * binom.pmf(wins, differing, 0.5)
    assert alarms.exact_size(0.6, Design(12)) == pytest.approx(total)


def test_the_page_shows_the_stored_results():
    found = statistics.read()
    assert set(found) <= set(statistics.TABLES)
    assert (results.FOLDER / "statistics.md").read_text() == statistics.page(found)


def test_a_run_that_was_stopped_goes_on(monkeypatch, tmp_path):
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    monkeypatch.setattr(statistics, "SEED", 7)
    simulated = []

    def cells(seed):
        return [lambda number=number: run(seed, number) for number in range(4)]

    def run(seed, number):
        simulated.append(number)
        if simulated == [0, 1, 2]:
            raise KeyboardInterrupt
        return {"seed": seed, "number": number}

    monkeypatch.setattr(statistics, "TABLES", {"other": cells, "all pairs": cells})
    monkeypatch.setattr(statistics, "page", lambda found: str(len(found["all pairs"])))
    with pytest.raises(KeyboardInterrupt):
        statistics.main(only=["all pairs"])
    assert statistics.read() == {"all pairs": [{"seed": 8, "number": 0}, {"seed": 8, "number": 1}]}
    statistics.main(only=["all pairs"])
    assert simulated == [0, 1, 2, 2, 3]
    assert [row["number"] for row in statistics.read()["all pairs"]] == [0, 1, 2, 3]
    statistics.main(only=["all pairs"])
    assert len(simulated) == 5
    statistics.main(only=["all pairs"], again=True)
    assert simulated[5:] == [0, 1, 2, 3]
    assert (tmp_path / "statistics.md").read_text() == "4"


def test_a_cell_has_a_seed_of_its_own(monkeypatch):
    monkeypatch.setattr(coverage, "STUDIES", 3)
    whole = [cell() for cell in coverage.differences(5)]
    assert coverage.differences(5)[4]() == whole[4]
    assert coverage.differences(6)[4]() != whole[4]


def test_all_pairs_are_simulated_in_every_design(monkeypatch):
    monkeypatch.setattr(coverage, "STUDIES", 1)
    cells = coverage.simultaneous(0)
    rows = [cell() for cell in cells]
    designs = {(row["rates"], row["between"], row["patients"], row["cases"]) for row in rows}
    assert len(cells) == len(designs) == 4 * 3 * 9
    assert {row["rates"] for row in rows} == {"0.6", "0.9", "0.98", "0.46–0.74"}


def test_what_falls_short_is_listed():
    rows = [
        {"coverage": 0.929, "withheld": 0.0},
        {"coverage": 0.94, "withheld": 0.0},
        {"coverage": 1.0, "withheld": 1.0},
    ]
    assert statistics.short(rows) == rows[:1]
    assert statistics.listed([], ["coverage"]) == " none.\n"
