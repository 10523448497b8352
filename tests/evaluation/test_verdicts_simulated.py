"""Simulated studies from maps and masks to verdicts: a sample of ``python -m benchmarks.verdicts``."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from benchmarks import results, verdicts
from benchmarks.verdict_chain import command, direct, through_files, write
from benchmarks.verdict_studies import MOST, SIDE, drawn, exchangeable

from pellucid.evaluation.plan import EvaluationPlan
from pellucid.statistics import Claim

COUNT = 20


def rng(seed=0):
    return np.random.default_rng(seed)


def peaks(maps):
    return np.stack(np.unravel_index(maps.reshape(len(maps), -1).argmax(1), maps.shape[1:]), axis=1)


def test_maps_hit_as_often_as_is_stated():
    study = drawn(2000, 0.1, {"often": 0.8, "seldom": 0.25}, rng())
    sizes = Counter(study.patients)
    assert (len(sizes), set(sizes.values())) == (2000, set(range(1, MOST + 1)))
    for name, rate in (("often", 0.8), ("seldom", 0.25)):
        hits = np.array([mask[tuple(place)] for mask, place in zip(study.masks, peaks(study.maps[name]), strict=True)])
        assert hits.mean() == pytest.approx(rate, abs=0.03)
        by_patient = {
            p: [h for h, own in zip(hits, study.patients, strict=True) if own == p] for p in list(sizes)[:200]
        }
        pairs = [(one[0], one[1]) for one in by_patient.values() if len(one) > 1]
        assert (
            np.mean([first == second for first, second in pairs]) > rate**2 + (1 - rate) ** 2
        )  # alike within patients


def test_shuffling_moves_masks_between_patients_only():
    study = drawn(20, 0.1, {"method": 0.8}, rng())
    shuffled = verdicts.shuffle(study, rng(1))
    assert (shuffled.patients, shuffled.labels) == (study.patients, study.labels)
    assert shuffled.maps is study.maps
    origin = [next(k for k, one in enumerate(study.masks) if np.array_equal(one, mask)) for mask in shuffled.masks]
    assert sorted(origin) == list(range(len(study.patients)))
    assert all(study.patients[k] != own for k, own in zip(origin, study.patients, strict=True))


def test_files_and_arrays_have_the_same_scores():
    study = drawn(12, 0.1, {"method": 0.7, "other": 0.4}, rng())
    files, arrays = through_files(study), direct(study)
    assert files.methods == ["method", "other"] or tuple(files.methods) == ("method", "other")
    for name in ("method", "other", "mean_mask", "centre", "random"):
        column = files.values["label"][name]["pointing_game"]
        np.testing.assert_allclose(column, arrays.values["label"][name]["pointing_game"], atol=1e-6)
    for name in ("method", "other", "mean_mask", "centre", "random"):
        np.testing.assert_allclose(files.shuffled[name], arrays.shuffled[name], atol=1e-6)
    assert [one.label for one in files.findings] == [one.label for one in arrays.findings]
    assert [files.images[one.image].patient for one in files.findings] == list(study.patients)


def test_the_command_names_the_files_of_a_study(tmp_path):
    study = drawn(2, 0.1, {"method": 0.7}, rng())
    write(study, tmp_path)
    line = command(tmp_path, study.maps, tmp_path / "out")
    assert line[:4] == ["evaluate", str(tmp_path / "cases.csv"), "--maps", f"method={tmp_path / 'maps' / 'method'}"]
    assert EvaluationPlan.of(tmp_path / "plan.toml").methods == ("method",)
    count = len(study.patients)
    assert len(list((tmp_path / "maps/method/images").glob("*.npy"))) == count
    assert np.load(tmp_path / "maps/method/images/0000.npy").shape == (SIDE, SIDE)


def test_a_second_method_takes_the_place_of_the_prior():
    study = exchangeable(drawn(10, 0.1, {}, rng()), ("method", "other"), 0.1, rng())
    scores = direct(study)
    found = verdicts.as_prior(scores)
    assert found.methods == ("method",)
    assert found.values["label"]["mean_mask"] is scores.values["label"]["other"]
    assert "other" not in found.values["label"]
    assert found.shuffled["mean_mask"] is scores.shuffled["other"]
    alone = direct(drawn(5, 0.1, {"method": 0.5}, rng()))
    assert verdicts.as_prior(alone) is alone


@pytest.fixture(scope="module")
def sample():
    """The claims of 20 studies of each kind, of 25 patients from arrays."""
    verdicts.CALIBRATION, before = 30, verdicts.CALIBRATION
    found = {
        cell.kind: verdicts.simulated(replace(cell, studies=COUNT))
        for cell in verdicts.cells()
        if cell.patients == 25 and cell.spread == verdicts.NARROW and cell.through == "arrays"
    }
    verdicts.CALIBRATION = before
    return found


def test_what_is_better_comes_out_so_more_often(sample):
    assert sample["better"]["better"] >= 5
    assert sample["better"]["better"] > 2 * sample["equal"]["better"]


@pytest.mark.parametrize(
    ("kind", "claims"),
    [
        ("equal", ("better", "worse")),
        ("exchangeable", ("better", "worse")),
        ("shuffled", ("better", "as_good")),
        ("one study shuffled", ("better", "as_good")),
    ],
)
def test_what_is_not_so_comes_out_seldom(sample, kind, claims):
    assert all(sample[kind][claim] <= 4 for claim in claims)  # of 20 at 5 %, more are once in 400


def test_every_study_has_one_claim(sample):
    for row in sample.values():
        assert sum(row[claim.name.lower()] for claim in Claim) == row["studies"] == COUNT


def test_the_page_names_what_is_above_the_allowed_share():
    cells = {cell.kind: cell for cell in verdicts.cells() if cell.through == "files"}
    many, few = (dict.fromkeys(("better", "worse", "as_good", "not_shown"), count) for count in (150, 10))
    text = verdicts.page(
        {
            cells["equal"].name: {"studies": 500, **many},
            cells["shuffled"].name: {"studies": 500, **few},
            cells["better"].name: {"studies": 500, **many},
            verdicts.PROCESSES: {"studies": 50, "same": 50},
        }
    )
    above = text.partition("Above what is allowed:")[2]
    assert "\n| equal |" in above
    assert "\n| shuffled |" not in above
    assert "\n| better |" not in above
    assert "| better | files | 0.1 | 25 | 500 | 0.300 |" in text
    assert "50 of 50 have the same scores.json" in text


def test_results_are_those_of_the_stored_cells():
    known = {cell.name for cell in verdicts.cells()} | {verdicts.PROCESSES}
    stored = verdicts.read()
    assert set(stored) <= known
    assert (results.FOLDER / "verdicts.md").read_text() == verdicts.page(stored)
