"""Each finding's partner: of another patient, and nobody's twice."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from pellucid.evaluation.scoring.partners import partners, shuffles


@pytest.mark.parametrize("seed", range(20))
def test_partners_are_of_other_patients_and_a_permutation(seed: int) -> None:
    generator = np.random.default_rng(seed)
    patients = [str(number) for number in generator.integers(0, 12, 40)]
    if 2 * max(Counter(patients).values()) > len(patients):
        pytest.fail("the draw has a patient of more than half of the findings")
    found = partners(patients, seed)
    assert sorted(found.tolist()) == list(range(40))
    assert all(patients[other] != patients[own] for own, other in enumerate(found.tolist()))


def test_partners_depend_on_the_seed() -> None:
    patients = [str(number) for number in range(30)]
    assert partners(patients, 0).tolist() == partners(patients, 0).tolist()
    assert partners(patients, 0).tolist() != partners(patients, 1).tolist()


def test_one_patient_has_no_partner() -> None:
    assert partners(["a", "a", "a"], 0).tolist() == [-1, -1, -1]
    assert partners([], 0).tolist() == []


def test_a_patient_of_more_than_half_keeps_some_without_partner() -> None:
    patients = ["a"] * 5 + ["b", "c"]
    found = partners(patients, 3).tolist()
    assert all(other < 0 or patients[other] != patients[own] for own, other in enumerate(found))
    assert sum(other >= 0 for other in found) >= 2


def test_shuffles_are_other_partners_each_the_first_that_of_the_seed() -> None:
    patients = [str(number // 2) for number in range(30)]
    found = shuffles(patients, 7)
    assert found.shape == (30, 20)
    assert found[:, 0].tolist() == partners(patients, 7).tolist()
    assert len({tuple(column) for column in found.T.tolist()}) == 20
    for column in found.T.tolist():
        assert sorted(column) == list(range(30))
        assert all(patients[other] != patients[own] for own, other in enumerate(column))
    assert shuffles(patients, 7).tolist() == found.tolist()
    assert shuffles([], 7).shape == (0, 20)
