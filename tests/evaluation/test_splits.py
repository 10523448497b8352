"""Splits by patient: only the test split is scored, and nothing of another split moves its figures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pellucid.errors import DataError
from pellucid.evaluation.files import to_json
from pellucid.evaluation.judging.judging import judged
from pellucid.evaluation.plan import EvaluationPlan
from pellucid.evaluation.splits import split_of
from tests.evaluation.made_scores import made

PLAN = EvaluationPlan(choose=["val", "dev"], test=["test"], calibrate=["cal"])


def divided(scores, *splits):
    """The same scores, the images being in these splits in turn."""
    images = [replace(one, split=splits[index % len(splits)]) for index, one in enumerate(scores.images)]
    return replace(scores, images=images)


def judge(measured, plan=PLAN):
    return judged(measured, plan, planned=True, plan_digest=plan.digest)


def test_only_the_test_split_is_scored():
    scores = divided(made(patients=60), "test", "val", "cal", "train", None, "dev")
    found = judge(scores)
    tested = [one for one in scores.images if one.split == "test"]
    assert found.flow.images == len(tested) == 15
    assert found.flow.findings == 10
    assert found.flow.lesion_free == 5
    assert found.flow.patients == 15
    assert found.flow.other_splits == {"calibrate": 14, "choose": 28, "none": 28}
    assert {one["split"] for one in found.scores} == {"test"}
    assert {one["image"] for one in found.scores} == {one.name for one in tested if not one.name.startswith("H")}
    assert all(one.figures["label"]["pointing_game"].count == 10 for one in found.rows)


def test_without_a_plan_for_splits_all_are_scored():
    found = judge(divided(made(), "a", "b"), EvaluationPlan())
    assert (found.flow.findings, found.flow.other_splits) == (40, {})


def test_scores_of_other_splits_move_nothing():
    scores = divided(made(patients=60), "test", "train")
    other = np.array([scores.images[one.image].split == "train" for one in scores.findings])
    noise = np.random.default_rng(5)

    def disturbed(columns):
        return {name: np.where(other, noise.random(60), column) for name, column in columns.items()}

    changed = replace(
        scores,
        values={t: {m: disturbed(one) for m, one in methods.items()} for t, methods in scores.values.items()},
        shuffled=disturbed(scores.shuffled),
        untrained=disturbed(scores.untrained),
        overlaps={m: np.where(other[:, None], noise.random(one.shape), one) for m, one in scores.overlaps.items()},
    )
    plan = EvaluationPlan(test=["test"])
    assert to_json(judge(changed, plan)) == to_json(judge(scores, plan))


def test_findings_partners_and_images_keep_their_numbers():
    scores = divided(made(patients=30, per=2), "test", "train", "train")
    test = split_of(scores, EvaluationPlan(test=["test"])).test
    old = [index for index, one in enumerate(scores.findings) if scores.images[one.image].split == "test"]
    assert len(test.findings) == len(old) == 20
    for new, before in enumerate(old):
        assert test.images[test.findings[new].image] == scores.images[scores.findings[before].image]
        assert test.findings[new].area == scores.findings[before].area
        assert test.values["label"]["good"]["iou"][new] == scores.values["label"]["good"]["iou"][before]
        partner = scores.partner[before]
        assert test.partner[new] == (old.index(partner) if partner in old else -1)
    assert [test.images[one].name for one in test.without] == [
        scores.images[one].name for one in scores.without if scores.images[one].split == "test"
    ]
    heat = scores.lesion_free["good"]["area"]
    kept = [
        value for value, one in zip(heat.tolist(), scores.without, strict=True) if scores.images[one].split == "test"
    ]
    assert test.lesion_free["good"]["area"].tolist() == kept


def test_gates_of_all_findings_are_divided_too():
    scores = divided(made(patients=60), "test", "train")
    values = np.where(np.arange(60) % 2 == 0, 0.25, 0.75)
    found = judge(replace(scores, gates={"good": {"smprt": values}}), EvaluationPlan(test=["test"]))
    assert (found.gates["good"]["smprt"].estimate, found.gates["good"]["smprt"].count) == (0.25, 30)


@pytest.mark.parametrize("plan", [PLAN, EvaluationPlan()], ids=["planned", "no plan"])
def test_a_patient_in_two_splits_is_an_error(plan):
    scores = divided(made(patients=60), "test", "val", "cal", "dev")
    images = [replace(one, patient="P000") if index in (0, 1) else one for index, one in enumerate(scores.images)]
    with pytest.raises(DataError) as caught:
        judge(replace(scores, images=images), plan)
    assert str(caught.value) == (
        "splits must not share patients; 1 patient is (P000) in two: put all images of a patient into one split"
    )


def test_many_patients_in_two_splits_are_counted():
    scores = divided(made(patients=60), "test", "val", "cal", "dev")
    images = [replace(one, patient=f"Q{index // 2}") for index, one in enumerate(scores.images)]
    with pytest.raises(DataError, match=r"42 patients are \(Q0, Q1, Q2, …\) in two"):
        judge(replace(scores, images=images))


def test_a_patient_of_one_split_and_of_none_is_no_error():
    scores = divided(made(patients=60), "test", "val", "cal", "dev")
    images = [
        replace(one, patient="P000", split=None) if index == 1 else one for index, one in enumerate(scores.images)
    ]
    assert judge(replace(scores, images=images)).flow.other_splits["none"] == 1


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        (("tests", "val", "cal", "dev"), "the plan's test names the split 'test', which no case of the data set is in"),
        (("test", "val", "dev"), "the plan's calibrate names the split 'cal'"),
        ((None,), "it states no splits"),
    ],
    ids=["near", "one lacks", "none"],
)
def test_a_split_that_no_case_is_in_is_an_error(splits, message):
    with pytest.raises(DataError) as caught:
        judge(divided(made(), *splits))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_split_without_findings_has_no_verdict():
    scores = made()
    images = [replace(one, split="test" if one.patient.startswith("H") else "train") for one in scores.images]
    found = judge(replace(scores, images=images), EvaluationPlan(test=["test"]))
    assert (found.flow.findings, found.flow.lesion_free) == (0, 25)
    assert {one.no_verdict for one in found.rows if not one.is_prior} == {"there is no finding to score maps on"}
    assert found.heat["good"]["area"].count == 25
