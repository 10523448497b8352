"""Verdicts on families of methods, composed by hand from the tests of pairs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.errors import OptionError, ShapeError
from pellucid.statistics import Claim, Plan, cases_needed_by, compare, difference, equivalent, holm, verdicts
from tests.statistics import naive
from tests.statistics.oracles import ORACLES
from tests.statistics.test_paired import rng

N = 200


def hits(count, size=N):
    """The first ``count`` cases hit."""
    return np.arange(size) < count


MASK, CENTRE = hits(100), np.roll(hits(80), 30)
PRIORS = {"mean mask": MASK, "centre": CENTRE}
PLAN = Plan("mean mask")


def only(scores, priors=PRIORS, plan=PLAN, **options):
    (found,) = verdicts({"gradcam": scores}, priors, plan, generator=rng(), **options)
    return found


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_equals_a_loop(values):
    assert holm(values).tolist() == naive.holm(values)


def test_holm_equals_statsmodels():
    assert holm(ORACLES["holm"]["p"]) == pytest.approx(ORACLES["holm"]["adjusted"])


@pytest.mark.parametrize("values", [[0.5, float("nan")], [1.2], [-0.1]])
def test_holm_takes_p_values(values):
    with pytest.raises(OptionError, match="from 0 to 1"):
        holm(values)


def test_better_is_better_than_the_hardest_prior():
    found = only(hits(150))
    hardest = {name: compare(hits(150), prior, generator=rng()).better for name, prior in PRIORS.items()}
    assert found.claim is Claim.BETTER
    assert found.better == max(hardest.values())
    means = {name: np.mean(prior) for name, prior in PRIORS.items()}
    assert found.prior == max(means, key=means.get)
    assert str(found).startswith(f"gradcam: better than every prior (closest: {found.prior}, by ")


def test_one_prior_that_is_not_beaten_is_enough():
    strong = {**PRIORS, "edges": hits(149)}
    found = only(hits(150), strong)
    assert found.claim is not Claim.BETTER
    assert found.better == compare(hits(150), strong["edges"], generator=rng()).better


def test_worse_is_about_the_named_prior_only():
    weak = hits(50)
    assert only(weak).claim is Claim.WORSE
    assert only(weak).prior == "mean mask"
    assert only(weak).worse == compare(weak, MASK, generator=rng()).worse
    beaten_by_another = {"mean mask": hits(50), "edges": hits(190)}
    assert only(np.roll(weak, 3), beaten_by_another).claim is not Claim.WORSE


def test_as_good_is_within_the_margin_of_the_named_prior():
    close = hits(101)
    found = only(close)
    assert found.claim is Claim.AS_GOOD
    assert found.as_good == equivalent(close, MASK, generator=rng()).p
    assert "as good as mean mask within 0.1" in str(found)
    assert only(close, plan=Plan("mean mask", margin=0.01)).claim is Claim.NOT_SHOWN


def test_what_is_not_shown_states_the_cases_needed():
    shuffled = rng().random(N) < 0.52
    found = only(shuffled, plan=Plan("mean mask", margin=0.01))
    assert found.claim is Claim.NOT_SHOWN
    against = PRIORS[found.prior]
    assert found.cases_needed == cases_needed_by(shuffled, against)
    assert str(found).endswith(f"a difference of 0.1 needs about {found.cases_needed} cases")
    assert found.difference == difference(shuffled, against, generator=rng())


def test_the_cases_needed_are_those_of_holms_strictest_step():
    methods = {str(k): rng().permutation(hits(104)) for k in range(4)}
    (first, *_) = verdicts(methods, PRIORS, PLAN, generator=rng())
    assert first.cases_needed == cases_needed_by(methods["0"], PRIORS[first.prior], level=0.05 / 4)


def test_each_claim_is_adjusted_over_the_methods():
    source = rng()
    methods = {name: source.random(N) < rate for name, rate in (("a", 0.62), ("b", 0.5), ("c", 0.4), ("d", 0.8))}
    found = verdicts(methods, PRIORS, PLAN, generator=rng())
    better = [max(compare(one, prior, generator=rng()).better for prior in PRIORS.values()) for one in methods.values()]
    worse = [compare(one, MASK, generator=rng()).worse for one in methods.values()]
    as_good = [equivalent(one, MASK, generator=rng()).p for one in methods.values()]
    assert [one.better for one in found] == pytest.approx(naive.holm(better))
    assert [one.worse for one in found] == pytest.approx(naive.holm(worse))
    assert [one.as_good for one in found] == pytest.approx(naive.holm(as_good))
    assert [one.method for one in found] == list(methods)


def test_the_level_decides():
    scores = rng().permutation(hits(125))
    p = only(scores).better
    assert 0.0001 < p < 0.5
    assert only(scores, plan=Plan("mean mask", level=p * 1.01)).claim is Claim.BETTER
    assert only(scores, plan=Plan("mean mask", level=p * 0.99)).claim is not Claim.BETTER


def test_a_prior_may_be_expected_hits():
    chances = np.full(N, 0.1)
    found = only(hits(60), {"mean mask": hits(20), "random": chances})
    assert found.claim is Claim.BETTER
    assert found.better == pytest.approx(
        max(compare(hits(60), prior, generator=rng()).better for prior in (hits(20), chances))
    )


def test_patients_with_several_cases_show_less():
    source = rng()
    method, prior = source.random(60) < 0.9, source.random(60) < 0.5
    alone = only(method, {"mean mask": prior})
    grouped = only(method, {"mean mask": prior}, patients=(f"P{k // 10}" for k in range(60)))
    assert alone.claim is Claim.BETTER
    assert grouped.better > alone.better
    assert grouped.difference.patients == 6


def test_with_one_patient_nothing_is_shown():
    found = only([1, 1, 1], {"mean mask": [0, 0, 0]}, patients=["a", "a", "a"])
    assert found.claim is Claim.NOT_SHOWN
    assert found.cases_needed is None
    assert str(found).endswith("fewer than two patients have a score")


def test_a_metric_that_is_missing_everywhere_shows_nothing():
    found = only([np.nan] * 5, {"mean mask": [0.1] * 5})
    assert (found.claim, found.difference.excluded) == (Claim.NOT_SHOWN, 5)


@pytest.mark.parametrize(
    ("methods", "priors", "named"),
    [({}, PRIORS, "mean mask"), ({"gradcam": MASK}, {}, "mean mask"), ({"gradcam": MASK}, PRIORS, "edges")],
)
def test_a_method_and_the_named_prior_are_needed(methods, priors, named):
    with pytest.raises(OptionError, match="a named prior among the priors"):
        verdicts(methods, priors, Plan(named), generator=rng())


def test_lengths_that_differ_are_refused():
    with pytest.raises(ShapeError, match="lengths that differ"):
        only(hits(3, 10))


@pytest.mark.parametrize("level", [0, 1, -0.05, float("nan")])
def test_a_level_is_a_probability(level):
    with pytest.raises(OptionError, match="level must be above 0 and below 1"):
        Plan("mean mask", level=level)


@pytest.mark.parametrize("wrong", ["a", None, True, 0, -0.1, float("nan"), float("inf"), [0.1]])
@pytest.mark.parametrize("name", ["margin", "detectable"])
def test_a_difference_is_a_number_above_0(name, wrong):
    with pytest.raises(OptionError, match=rf"^{name}=.* was given; write a number above 0, as in {name}=0.1$"):
        Plan("mean mask", **{name: wrong})


@pytest.mark.parametrize("wrong", ["a", None, True])
def test_a_level_is_a_number(wrong):
    with pytest.raises(OptionError, match=r"^level=.* was given; write a number above 0"):
        Plan("mean mask", level=wrong)


@pytest.mark.parametrize("points", [1, 2, 10])
@pytest.mark.parametrize("name", ["margin", "detectable"])
def test_differences_of_hits_are_shares(name, points):
    plan = Plan("mean mask", **{name: points})
    for scores in (hits(150), np.where(hits(4), np.nan, hits(150))):
        with pytest.raises(OptionError, match=rf"^{name}={points} was given, and the scores are hits; .*=0.1 for 10"):
            only(scores, priors={**PRIORS, "random": np.full(N, 0.25)}, plan=plan)
    scores = hits(150) * 40.0  # of another metric, such as a distance in pixels
    found = only(scores, priors={name: 40.0 * prior for name, prior in PRIORS.items()}, plan=plan)
    assert getattr(found.plan, name) == points


def test_a_difference_that_is_withheld_is_none_to_be_better_by():
    methods, priors = {"a": [0.1] * 12}, {"b": [0.9] * 12}
    found = verdicts(methods, priors, Plan("b"), generator=rng(), patients=[str(k // 2) for k in range(12)])[0]
    assert found.difference.withheld is not None
    assert str(found).startswith(
        f"a: worse than b (12 cases of 6 patients; interval withheld: {found.difference.withheld}"
    )
