"""Verdicts and figures of made scores, beside plain loops."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from pellucid.evaluation.evaluation import Evaluation
from pellucid.evaluation.judging.endpoint import Endpoint
from pellucid.evaluation.judging.judging import judged
from pellucid.evaluation.judging.overlap import folds_of
from pellucid.evaluation.judging.quality import calibration_of, roc_of
from pellucid.evaluation.measured import THRESHOLDS, MetricFacts, Seen
from pellucid.evaluation.plan import EvaluationPlan
from pellucid.evaluation.unit import DISTINCT
from pellucid.statistics import Claim, Plan, auroc, kendall, mean, proportion, verdicts
from tests.evaluation import naive_judging as naive
from tests.evaluation.made_scores import FACTS, PRIORS, RATES, made, with_primary

PLAN = EvaluationPlan()


def judge(measured, plan=PLAN, planned=True) -> Evaluation:
    return judged(measured, plan, planned=planned, plan_digest=plan.digest)


@pytest.fixture(scope="module")
def scores():
    return made(patients=60)


@pytest.fixture(scope="module")
def found(scores):
    return judge(scores)


def row(found, name):
    return next(one for one in found.rows if one.method == name)


def patients_of(measured):
    return [measured.images[one.image].patient for one in measured.findings]


def test_there_is_a_row_for_each_method_and_prior(found):
    assert [(one.method, one.is_prior) for one in found.rows] == [
        *((name, False) for name in RATES),
        *((name, True) for name in PRIORS),
    ]
    assert all((one.verdict is None) == one.is_prior for one in found.rows)
    assert all(one.no_verdict is None for one in found.rows)


def test_claims_are_those_of_the_rates(found):
    assert row(found, "good").verdict.claim is Claim.BETTER
    assert row(found, "equal").verdict.claim is Claim.NOT_SHOWN
    assert row(found, "poor").verdict.claim is Claim.WORSE


def test_verdicts_are_those_of_the_statistics(scores, found):
    columns = {name: one["pointing_game"] for name, one in scores.values["label"].items()}
    plain = verdicts(
        {name: columns[name] for name in RATES},
        {name: columns[name] for name in PRIORS},
        Plan("mean_mask"),
        generator=np.random.default_rng(0),
        patients=patients_of(scores),
    )
    assert tuple(one.verdict for one in found.rows if not one.is_prior) == plain


def test_figures_are_means_with_the_intervals_of_the_statistics(scores, found):
    patients = patients_of(scores)
    for target, methods in scores.values.items():
        for method, columns in methods.items():
            figures = row(found, method).figures[target]
            assert set(figures) == set(FACTS)
            for metric, column in columns.items():
                assert figures[metric].estimate == pytest.approx(naive.mean(column.tolist()))
    good, random = (scores.values["label"][name]["pointing_game"] for name in ("good", "random"))
    assert row(found, "good").figures["label"]["pointing_game"] == proportion(good, patients)
    expected = mean(random, patients, generator=np.random.default_rng(0))
    assert row(found, "random").figures["label"]["pointing_game"] == expected  # no hits, but their probabilities


def test_the_flow_counts_every_case(scores, found):
    flow = found.flow
    assert (flow.given, flow.images, flow.findings, flow.lesion_free, flow.patients) == (88, 85, 60, 25, 85)
    assert flow.excluded == {"no mask": ("x.png", "y.png"), "cannot be read": ("z.png",)}
    assert flow.other_splits == {}


def test_what_was_measured_is_passed_on(scores, found):
    assert (found.primary, found.planned, found.plan) == ("pointing_game", True, PLAN)
    assert found.plan_digest == PLAN.digest
    assert found.missing == scores.reasons
    assert found.provenance == scores.provenance
    assert found.notes[0] == "Patients are those of the column."


# --- a method that fails


def gaps(values, *indices):
    holed = np.array(values, dtype=float)
    holed[list(indices)] = np.nan
    return holed


def test_a_map_that_is_not_there_counts_as_a_miss(scores):
    column = scores.values["label"]["good"]["pointing_game"]
    hits = np.flatnonzero(column)[:4]
    holed = judge(with_primary(scores, "good", gaps(column, *hits)))
    missed = judge(with_primary(scores, "good", np.where(np.isin(np.arange(60), hits), 0.0, column)))
    assert row(holed, "good").figures["label"]["pointing_game"] == row(missed, "good").figures["label"]["pointing_game"]
    assert row(holed, "good").verdict == row(missed, "good").verdict
    assert row(holed, "good").failed == 4
    assert "good has no value of pointing_game on 4 of 60 findings" in " ".join(holed.notes)
    assert row(missed, "good").failed == 0
    assert not any("has no value" in note for note in missed.notes)


def test_a_method_does_not_gain_by_failing(scores):
    """One that has no map where it would miss is no better than one that misses."""
    column = scores.values["label"]["equal"]["pointing_game"]
    misses = np.flatnonzero(column == 0)
    lucky = judge(with_primary(scores, "equal", gaps(column, *misses)))
    assert row(lucky, "equal").verdict == row(judge(scores), "equal").verdict
    assert row(lucky, "equal").figures["label"]["pointing_game"].estimate == column.mean()


def test_a_finding_without_a_value_of_a_prior_is_left_out_for_all(scores):
    column = scores.values["label"]["centre"]["pointing_game"]
    holed = with_primary(scores, "centre", gaps(column, 3, 4))
    found = judge(holed)
    for one in found.rows:
        figure = one.figures["label"]["pointing_game"]
        assert (figure.count, figure.excluded) == (58, 2)
    assert any(note.startswith("2 of 60 findings are not in the primary endpoint") for note in found.notes)


def test_what_has_no_value_at_all_is_not_compared(scores):
    found = judge(with_primary(with_primary(scores, "good", [np.nan] * 60), "centre", [np.nan] * 60))
    assert (row(found, "good").verdict, row(found, "good").no_verdict) == (None, "it has no value")
    assert row(found, "equal").verdict.claim is Claim.NOT_SHOWN
    assert {"good has no value of pointing_game at all, and is not compared."} <= set(found.notes)
    assert row(found, "equal").figures["label"]["pointing_game"].count == 60


@pytest.mark.parametrize("better", ["higher", "lower"])
@pytest.mark.parametrize("shift", [0.0, -0.7, 0.9])
def test_the_endpoint_equals_loops(better, shift):
    rng = np.random.default_rng(1)
    method, first, second = rng.random((3, 30)) + shift
    method[[1, 4]], first[[4, 9]] = np.nan, np.nan
    facts = MetricFacts(better, proportion=False, needs_mask=True)
    priors = {"mean_mask": first, "centre": second}
    found = Endpoint.of({"a": method}, priors, [f"P{k}" for k in range(30)], facts)
    expected = naive.compared(method.tolist(), {name: column.tolist() for name, column in priors.items()}, better)
    assert [None if np.isnan(one) else one for one in found.methods["a"]] == expected
    assert found.failed == {"a": 1}


def test_values_that_are_not_finite_are_none(scores):
    column = scores.values["label"]["good"]["pointing_game"].copy()
    column[:2] = np.inf, -np.inf
    assert row(judge(with_primary(scores, "good", column)), "good").failed == 2


# --- lower is better


def test_where_lower_is_better_a_difference_still_speaks_for_the_method():
    scores = made(patients=60, priors={"mean_mask": 0.5})
    facts = {**FACTS, "pointing_game": MetricFacts("lower", proportion=True, needs_mask=True)}
    found = judge(replace(scores, metrics=facts))
    turned = judge(scores)
    assert row(found, "good").verdict.claim is Claim.WORSE
    assert row(found, "poor").verdict.claim is Claim.BETTER
    assert row(found, "poor").verdict.difference.estimate > 0
    assert row(found, "good").verdict.difference.estimate < 0
    assert row(found, "good").figures == row(turned, "good").figures  # the figures are as they were measured
    assert any("lower is better; a difference in a verdict is positive" in note for note in found.notes)


def test_a_metric_that_has_no_better_gives_no_verdict():
    found = judge(made(primary="entropy"))
    assert {one.no_verdict for one in found.rows if not one.is_prior} == {
        "of the primary metric neither more nor less is better"
    }


# --- as good as a prior that does little


def test_as_good_is_asked_where_the_prior_is_worth_twice_the_margin():
    hits = np.tile([1.0, 1, 0, 0], 100)
    scores = made(patients=400, methods={"same": 0.5}, priors={"mean_mask": 0.5})
    scores = with_primary(with_primary(scores, "same", hits), "mean_mask", hits)
    assert row(judge(scores), "same").verdict.claim is Claim.AS_GOOD


def test_nothing_is_as_good_as_a_prior_that_hardly_hits():
    rarely = np.arange(400) % 25 == 0
    scores = made(patients=400, methods={"never": 0.0}, priors={"mean_mask": 0.04})
    found = judge(with_primary(scores, "mean_mask", rarely))
    verdict = row(found, "never").verdict
    assert verdict.claim is not Claim.AS_GOOD
    assert verdict.plan == Plan("mean_mask")
    assert any('"As good as" was not asked' in note for note in found.notes)


# --- too little for a verdict


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"patients": 0}, "there is no finding to score maps on"),
        ({"patients": 1, "per": 5}, "all findings are of one patient"),
        ({"patients": 1}, "there is one finding only"),
        ({"methods": {}}, None),
        ({"priors": {"centre": 0.4}}, "the prior mean_mask of the plan has no value"),
        ({"priors": {}}, "the prior mean_mask of the plan has no value"),
    ],
    ids=["no finding", "one patient", "one finding", "no method", "another prior", "no prior"],
)
def test_without_enough_there_is_no_verdict_but_the_reason(changes, reason):
    found = judge(made(**changes))
    assert all(one.verdict is None for one in found.rows)
    if reason:
        assert {one.no_verdict for one in found.rows if not one.is_prior} == {reason}
        assert f"There is no verdict: {reason}." in found.notes
    for one in found.controls:
        assert (one.shown, one.no_claim is None) == ((), False)


def test_two_patients_have_a_verdict_that_shows_nothing():
    found = judge(made(patients=2))
    assert {one.verdict.claim for one in found.rows if not one.is_prior} == {Claim.NOT_SHOWN}


def test_no_model_and_nothing_but_the_primary():
    bare = made(overlaps={}, shuffled={}, untrained={}, without=(), lesion_free={}, gates={}, classes=None)
    images = [replace(one, probabilities=None, predicted=None) for one in bare.images]
    findings = [replace(one, probability=None, is_called=None) for one in bare.findings]
    found = judge(replace(bare, images=images, findings=findings, partners=np.zeros((0, 1), dtype=np.int64)))
    assert (found.quality, found.tuned, found.curves, found.heat, found.controls, found.gates) == (
        (),
        (),
        {},
        {},
        (),
        {},
    )
    assert {one.kind for one in found.strata} == {"size", "class", "scanner"}
    assert row(found, "good").verdict.claim is Claim.BETTER


# --- the model


def test_quality_equals_loops(scores, found):
    images = [one for one in scores.images if one.labels is not None]
    assert [one.name for one in found.quality] == ["lesion", "nodule", "none"]
    for one in found.quality:
        values = [image.probabilities[one.name] for image in images]
        labels = [int(one.name in image.labels) for image in images]
        assert (one.positive, one.negative) == (sum(labels), len(labels) - sum(labels))
        assert one.auc == auroc(values, labels, [image.patient for image in images])
        found_bins = list(zip(one.calibration.predicted, one.calibration.observed, one.calibration.counts, strict=True))
        assert found_bins == [pytest.approx(each) for each in naive.bins(values, labels)]
        assert one.calibration.brier == pytest.approx(naive.brier(values, labels))
        assert one.calibration.error == pytest.approx(naive.calibration_error(values, labels))


def test_the_roc_curve_equals_loops():
    rng = np.random.default_rng(3)
    for ties in (5, 50, 10_000):
        values = np.round(rng.random(80) * ties) / ties
        labels = (rng.random(80) < 0.3 + 0.4 * values).astype(float)
        curve, points = roc_of(values, labels), naive.roc(values.tolist(), labels.tolist())
        assert all(any(one == pytest.approx(other) for other in points) for one in curve)
        assert (curve[0], curve[-1]) == ((0, 0), (1, 1))
        assert all(naive.on_path(curve, point) for point in points)


@pytest.mark.parametrize(
    ("value", "counts"), [(0.0, (2, 1)), (0.1, (1, 2)), (0.3, (1, 2)), (0.7, (1, 2)), (0.9, (1, 2))]
)
def test_a_probability_at_an_edge_is_in_the_bin_above(value, counts):
    assert (
        calibration_of(np.array([value, abs(value - 0.05), value + 0.06 + (not value) / 10]), np.zeros(3)).counts
        == counts
    )


def test_one_is_in_the_last_bin():
    assert calibration_of(np.array([1.0, 0.95]), np.zeros(2)).counts == (2,)


def test_the_area_is_that_of_the_curve():
    rng = np.random.default_rng(4)
    values, labels = rng.random(60), (rng.random(60) < 0.5).astype(float)
    curve = roc_of(values, labels)
    area = sum((x1 - x0) * (y0 + y1) / 2 for (x0, y0), (x1, y1) in pairwise(curve))
    assert area == pytest.approx(auroc(values, labels).estimate)


def test_a_class_that_all_images_have_has_no_area():
    images = [Seen(str(k), str(k), ("a",), probabilities={"a": 0.7}, predicted="a") for k in range(30)]
    (found,) = judge(
        made(patients=0, images=images, without=(), lesion_free={}, classes=("a",), multilabel=True)
    ).quality
    assert (found.auc, found.roc, found.positive, found.negative) == (None, (), 30, 0)
    assert found.calibration.counts == (30,)


def test_images_with_no_class_are_negative_only_where_classes_are_independent():
    images = [
        Seen(str(k), str(k), (("a",), (), ("other",), None)[k % 4], probabilities={"a": 0.2, "b": 0.8}, predicted="b")
        for k in range(40)
    ]
    few = made(patients=0, images=images, without=(), lesion_free={}, classes=("a", "b"))
    independent, exclusive = judge(replace(few, multilabel=True)), judge(few)
    assert [(one.positive, one.negative) for one in independent.quality] == [(10, 20), (0, 30)]
    assert [(one.positive, one.negative) for one in exclusive.quality] == [(10, 0), (0, 10)]
    assert any(note.startswith("30 images with no stated class") for note in exclusive.notes)


# --- overlap


def test_the_tuned_overlap_equals_loops():
    scores = made(patients=23, per=2)
    patients = patients_of(scores)
    folds = folds_of(patients, np.random.default_rng(PLAN.seed)).tolist()
    for one in judge(scores).tuned:
        table = scores.overlaps[one.method].tolist()
        values, thresholds = naive.tuned(table, folds, THRESHOLDS)
        assert list(one.thresholds) == thresholds
        assert one.overlap == mean(values, patients, generator=np.random.default_rng(PLAN.seed))


def test_folds_hold_whole_patients_of_equal_numbers():
    patients = [f"P{k % 23}" for k in range(100)]
    folds = folds_of(patients, np.random.default_rng(0))
    by_patient = {}
    for patient, fold in zip(patients, folds.tolist(), strict=True):
        by_patient.setdefault(patient, set()).add(fold)
    assert all(len(one) == 1 for one in by_patient.values())
    sizes = np.bincount([one.pop() for one in by_patient.values()])
    assert (len(sizes), sizes.max() - sizes.min()) == (5, 1)


def test_a_threshold_is_not_tuned_on_the_patient_that_is_scored():
    """Each patient's overlap is high at a threshold of its own: whoever tunes on it gets 1, another gets 0."""
    count = len(THRESHOLDS)
    table = np.eye(count)
    scores = made(patients=count, methods={"a": 0.5}, overlaps={"a": table})
    (one,) = judge(scores).tuned
    assert one.overlap.estimate == 0


def test_a_split_to_choose_on_gives_one_threshold():
    scores = made(patients=60, methods={"a": 0.5})
    table, chosen = np.zeros((60, len(THRESHOLDS))), np.full((21, len(THRESHOLDS)), np.nan)
    table[:, 9], chosen[:20] = 1, 0
    chosen[:20, 4] = 1
    images = [replace(one, split="test" if index < 40 else "val") for index, one in enumerate(scores.images)]
    scores = replace(
        scores, images=images, overlaps={"a": table, "b": table}, chosen={"a": chosen, "b": chosen * np.nan}
    )
    first, second = judge(scores, EvaluationPlan(choose=["val"], test=["test"])).tuned
    assert (first.thresholds, first.chosen_on) == ((THRESHOLDS[4],), 20)
    assert (first.overlap.estimate, first.overlap.count) == (0, 40)
    assert (set(second.thresholds), second.chosen_on) == ({THRESHOLDS[9]}, 0)  # no map of it has a value there


def test_images_are_the_units_where_no_patient_is_stated():
    alone = judge(made(patients=1, per=3, patients_stated=False), EvaluationPlan())
    stated = judge(made(patients=1, per=3), EvaluationPlan())
    assert not alone.patients_stated
    texts = [*(row.no_verdict for row in alone.rows if row.no_verdict), *(one.what for one in alone.controls)]
    texts += [one.name + one.expected + str(one.no_claim) for one in alone.controls]
    assert "all findings are of one distinct image" in texts
    assert not any("patient" in text for text in texts), texts
    assert DISTINCT.means in alone.limits
    assert DISTINCT.means not in stated.limits
    assert any("all findings are of one patient" in str(row.no_verdict) for row in stated.rows)


def test_one_patient_has_no_tuned_threshold():
    assert judge(made(patients=1, per=4)).tuned == ()


def test_curves_are_means_without_what_is_missing():
    scores = made(patients=20, methods={"a": 0.5})
    table = scores.overlaps["a"].copy()
    table[3, 5], table[:, 7] = np.nan, np.nan
    curve = judge(replace(scores, overlaps={"a": table})).curves["a"]
    assert curve == tuple(pytest.approx(naive.mean(table[:, k].tolist()), nan_ok=True) for k in range(len(THRESHOLDS)))


# --- heat, gates, strata, agreement


def test_heat_is_the_mean_over_images_without_a_finding(scores, found):
    for method, columns in scores.lesion_free.items():
        for what, column in columns.items():
            assert found.heat[method][what].estimate == pytest.approx(naive.mean(column.tolist()))
            assert found.heat[method][what].patients == 25


def test_even_heat_is_the_mean_of_what_is_known(scores):
    values = np.where(np.arange(25) % 3, np.linspace(0, 1, 25), np.nan)
    found = judge(replace(scores, even={"at the border": values, "area": np.full(25, np.nan)}), EvaluationPlan())
    assert dict(found.even) == {"at the border": pytest.approx(naive.mean(values.tolist()))}


def test_gates_are_means_of_a_few_findings(scores, found):
    for method, columns in scores.gates.items():
        one = found.gates[method]["smprt"]
        assert one.estimate == pytest.approx(naive.mean(columns["smprt"].tolist()))
        assert one.withheld == "fewer than 20 patients"


def test_strata_equal_loops(scores, found):
    column = scores.values["label"]["good"]["pointing_game"]
    sizes = [
        "small (below 2 % of the image)"
        if one.area < 0.02
        else "medium (2 to 8 %)"
        if one.area < 0.08
        else "large (8 % and more)"
        for one in scores.findings
    ]
    called = ["detected by the model" if one.is_called else "not detected by the model" for one in scores.findings]
    kinds = {
        "size": sizes,
        "detection": called,
        "class": [one.label for one in scores.findings],
        "scanner": [scores.images[one.image].groups["scanner"] for one in scores.findings],
    }
    for kind, names in kinds.items():
        parts = [one for one in found.strata if one.kind == kind]
        assert {one.name for one in parts} == set(names)
        for part in parts:
            values = [value for value, name in zip(column.tolist(), names, strict=True) if name == part.name]
            figure = part.figures["good"]
            assert figure.count == len(values)
            if len(values) < 20:
                assert figure.withheld == "fewer than 20 patients"
            else:
                assert figure.estimate == pytest.approx(naive.mean(values))
    assert [one.name for one in found.strata if one.kind == "size"] == [
        name
        for name in ("small (below 2 % of the image)", "medium (2 to 8 %)", "large (8 % and more)")
        if name in sizes
    ]
    assert set(found.strata[0].figures) == {*RATES, *PRIORS}


def test_sizes_are_divided_at_fixed_shares():
    areas = (0.0, 0.0199, 0.02, 0.0799, 0.08, 1.0, float("nan"))
    scores = made(patients=len(areas))
    findings = [replace(one, area=area) for one, area in zip(scores.findings, areas, strict=True)]
    parts = [one for one in judge(replace(scores, findings=findings)).strata if one.kind == "size"]
    assert [one.figures["good"].count for one in parts] == [2, 2, 2]


def test_a_part_that_is_all_is_no_stratum():
    scores = made()
    findings = [replace(one, is_called=True, label="lesion") for one in scores.findings]
    assert {one.kind for one in judge(replace(scores, findings=findings)).strata} == {"size", "scanner"}


def test_ranks_and_tau_equal_loops(scores, found):
    figures = {
        name: {metric: naive.mean(column.tolist()) for metric, column in scores.values["label"][name].items()}
        for name in RATES
    }
    for name in RATES:
        ranks = []
        for metric, facts in FACTS.items():
            sign = {"higher": 1, "lower": -1}.get(facts.better)
            if sign:
                ranks.append(1 + sum(sign * figures[other][metric] > sign * figures[name][metric] for other in RATES))
        assert found.ranks[name] == (min(ranks), max(ranks))
    first, second = (
        [figures[name][metric] for name in RATES] for metric in ("deletion_auc", "deletion_auc(baseline=blur)")
    )
    assert found.tau == {"deletion_auc and deletion_auc(baseline=blur)": pytest.approx(kendall(first, second).tau)}


@pytest.mark.parametrize("methods", [{"a": 0.5}, {"a": 0.5, "b": 0.3}])
def test_fewer_than_three_methods_have_no_rank(methods):
    found = judge(made(methods=methods))
    assert (found.ranks, found.tau) == ({}, {})


def test_other_options_than_the_baseline_are_no_second_baseline():
    facts = MetricFacts("lower", proportion=False, needs_mask=False)
    names = ("aopc(steps=5)", "aopc(steps=5, baseline=mean)", "aopc(steps=9)")
    scores = made()
    values = {
        "label": {name: {**one, **dict.fromkeys(names, one["iou"])} for name, one in scores.values["label"].items()}
    }
    found = judge(replace(scores, values=values, metrics={**FACTS, **dict.fromkeys(names, facts)}))
    assert set(found.tau) == {
        "deletion_auc and deletion_auc(baseline=blur)",
        "aopc(steps=5) and aopc(steps=5, baseline=mean)",
    }


# --- controls


def test_controls_are_verdicts_on_maps_that_know_nothing(scores, found):
    assert [one.name for one in found.controls] == [
        "shuffled masks",
        "maps shuffled between patients",
        "untrained network",
    ]
    own = {name: scores.values["label"][name]["pointing_game"] for name in PRIORS}
    patients, partner = patients_of(scores), scores.partner.tolist()
    moved = {name: np.array([column[k] for k in partner]) for name, column in own.items()}
    cases = (
        ({name: scores.shuffled[name] for name in RATES}, {name: scores.shuffled[name] for name in PRIORS}, patients),
        ({name: scores.shuffled[name] for name in RATES}, moved, [patients[k] for k in partner]),
        (scores.untrained, own, patients),
    )
    for control, (methods, priors, whose) in zip(found.controls, cases, strict=True):
        expected = Endpoint.of(methods, priors, whose, FACTS["pointing_game"])
        assert control.figures == expected.figures(0)
        claims = {name: one.claim for name, one in expected.verdicts(PLAN).items()}
        assert set(control.shown) == {name for name, one in claims.items() if one in (Claim.BETTER, Claim.AS_GOOD)}
        assert "5 %" in control.expected


def test_a_control_names_what_comes_out(scores):
    column = np.ones(60)
    found = judge(replace(scores, shuffled={**scores.shuffled, "good": column}, untrained={"poor": column}))
    assert [one.shown for one in found.controls] == [("good",), ("good",), ("poor",)]


def test_a_finding_without_a_partner_is_left_out():
    scores = made(patients=30)
    partner = np.where(np.arange(30) < 10, -1, scores.partner)
    shuffled = {name: np.where(partner < 0, np.nan, column) for name, column in scores.shuffled.items()}
    found = judge(replace(scores, partners=partner[:, None], shuffled=shuffled))
    assert [one.figures["good"].count for one in found.controls] == [20, 20, 30]


# --- words


def test_what_was_not_given_is_a_limit(found):
    bare = judge(made(patients=5, without=(), lesion_free={}, untrained={}), planned=False)
    for part in ("No plan was fixed", "of 5 patients", "No image without a finding", "untrained network were not made"):
        assert any(part in one for one in bare.limits)
        assert not any(part in one for one in found.limits)
    assert any("trained on any of these images" in one for one in found.limits)


# --- rows of the table


def test_a_row_for_each_target_method_and_finding(scores, found):
    assert len(found.scores) == 2 * 6 * 60
    one = next(line for line in found.scores if line["target"] == "predicted" and line["method"] == "good")
    finding = scores.findings[0]
    image = scores.images[finding.image]
    assert (one["image"], one["patient"], one["label"], one["area"]) == (
        image.name,
        image.patient,
        finding.label,
        finding.area,
    )
    assert (one["probability"], one["predicted"], one["prior"]) == (finding.probability, image.predicted, False)
    assert one["pointing_game"] == scores.values["predicted"]["good"]["pointing_game"][0]


def test_findings_of_one_image_may_be_several():
    scores = made(patients=30, per=3)
    found = judge(scores)
    assert (found.flow.findings, found.flow.images) == (90, 55)
    assert row(found, "good").verdict.difference.patients == 30


def test_a_control_names_what_is_as_good():
    """Maps that hit others' findings just as the mean mask does: that is true, and the control says so."""
    hits = np.tile([1.0, 1, 0, 0], 100)
    scores = made(patients=400, methods={"same": 0.5}, priors={"mean_mask": 0.5})
    (first, *_) = judge(replace(scores, shuffled={"same": hits, "mean_mask": hits})).controls
    assert first.shown == ("same",)
    assert "as good as" in first.expected
