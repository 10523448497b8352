"""What is asked: changes and attacks by name, with their budgets."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pellucid.core.attack import ATTACKS
from pellucid.core.change import CHANGES
from pellucid.errors import OptionError
from pellucid.robustness import RobustnessPlan
from pellucid.robustness.steps import ByAttack, ByChange


def steps(*changes: str, **budgets: tuple[float, ...]) -> list[tuple[str, float]]:
    plan = RobustnessPlan(changes=changes, budgets=budgets)
    return [(step.change, step.level) for step in plan.steps]


def test_all_are_the_changes_at_their_own_levels() -> None:
    expected = [(name, level) for name in CHANGES.names() for level in CHANGES.find(name).levels]
    assert steps("all") == steps("all", "noise") == expected


def test_an_attack_has_shares_of_its_own_budget() -> None:
    assert steps("pgd") == [("pgd", pytest.approx(share * 8 / 255)) for share in (0.125, 0.25, 0.5, 1)]
    found = RobustnessPlan(changes=("pgd(steps=3)",)).steps
    assert {(step.what.steps, step.is_attack, step.by_method) for step in found} == {(3, True, False)}  # type: ignore[union-attr]


def test_attacks_start_by_the_plans_seed() -> None:
    found = RobustnessPlan(changes=("pgd", "pgd(seed=3)", "fgsm"), seed=7).steps
    assert [step.what.seed for step in found if hasattr(step.what, "seed")] == [7] * 4 + [10] * 4
    assert RobustnessPlan(changes=("topk",)).steps[0].what == replace(ATTACKS.find("topk")(), epsilon=1 / 255)


@pytest.mark.parametrize("name", ATTACKS.names())
def test_every_attack_is_a_change(name: str) -> None:
    found = RobustnessPlan(changes=(name,), budgets={name: (0.0, 0.01)}).steps
    assert [step.level for step in found] == [0.0, 0.01]
    assert all(isinstance(step, ByAttack) and step.what.name == name and step.unit for step in found)
    assert {step.by_method for step in found} == {ATTACKS.find(name).moves_map}


def test_budgets_are_of_what_was_asked_for() -> None:
    plan = RobustnessPlan(changes=("noise", "rotation"), budgets={"noise": (0, 0.5)})
    noise = plan.steps[1]
    assert isinstance(noise, ByChange)
    assert (noise.what.strength, noise.level, noise.is_attack) == (0.5, 0.5, False)
    assert len(plan.steps) == 2 + len(CHANGES.find("rotation").levels)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"changes": ("nosie",)}, "no change or attack has that name; did you mean noise"),
        ({"changes": ("noise(strength=1)",)}, "its strength is its budget: give budgets="),
        ({"changes": ("pgd(epsilon=1)",)}, "its epsilon is its budget: give budgets="),
        ({"changes": ("pgd(step=1)",)}, "attack 'pgd' has the options"),
        ({"budgets": {"noise": (-0.1, 0.1)}}, "give 0 or more and at most 1"),
        ({"budgets": {"noise": (0.1, 2.0)}}, "strength 2 of change 'noise' was asked for"),
        ({"budgets": {"pgd": (-0.1,)}}, "epsilon must be >= 0"),
        ({"budgets": {"noise": (0.2, 0.1)}}, "write growing ones, each once"),
        ({"budgets": {"noise": (0.1, 0.1)}}, "write growing ones, each once"),
        ({"changes": ("blur",), "budgets": {"noise": (0.1,)}}, "the changes are blur: add it"),
        ({"metrics": ("iou",)}, "it judges one map: choose among centre_shift"),
        ({"metrics": ("sism",)}, "did you mean ssim"),
        ({"changes": ("target_map(target=next)",)}, "each image is attacked by itself, and has no next one: write"),
        ({"changes": ("target_map(steps=2,target=next)",)}, "write 'target_map(target=corner)'"),
        ({"changes": ()}, "no method or no change"),
        ({"seed": -1}, "write 0 or more"),
        ({"seed": 1.5}, "seed = 1.5 was asked for; write 0 or more, a whole number"),
        ({"seed": True}, "a whole number"),
        ({"budgets": {"pgd": ("a",)}}, "budgets ('a',) of 'pgd' were given; write a list of numbers"),
        ({"budgets": {"noise": (0.1, None)}}, "budgets (0.1, None) of 'noise' were given"),
        ({"budgets": {"noise": (True,)}}, "budgets (True,) of 'noise' were given"),
        ({"budgets": {"noise": "0.1"}}, "budgets '0.1' of 'noise' were given"),
        ({"budgets": {"pgd": 0.1}}, "budgets 0.1 of 'pgd' were given; write a list of numbers"),
        ({"budgets": {"pgd": (float("nan"),)}}, "epsilon must be >= 0"),
        ({"budgets": {"noise": ()}}, "budgets () of 'noise' were given; write a list of numbers"),
        ({"changes": None}, "changes=None was given; write a list of names"),
        ({"changes": (3,)}, "changes=(3,) was given; write a list of names"),
        ({"methods": 3}, "methods=3 was given; write a list of names"),
        ({"budgets": [0.1]}, "budgets=[0.1] was given; write those of each change"),
    ],
)
def test_what_cannot_be_measured_is_one_line(options: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError) as caught:
        RobustnessPlan(**options)  # type: ignore[arg-type]
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_ssim_is_always_compared() -> None:
    assert list(RobustnessPlan(metrics=("l2",)).comparisons) == ["ssim", "l2"]
