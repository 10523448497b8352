"""A backward rule decides what becomes of the gradient, and its effect ends."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from pellucid.core.rule import BackwardRule, RulePass, tensors_in


class Rule(BackwardRule):
    """Runs every function as it is, and notes it."""

    asked, instead = "plain gradients", "saliency"

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Any] = []

    def call(self, function: Any, args: tuple[Any, ...], named: dict[str, Any]) -> Any:
        self.seen.append(function)
        return function(*args, **named)


class OfExp(Rule):
    """Does something about exp."""

    def __init__(self, about: Any) -> None:
        super().__init__()
        self.about = about

    def call(self, function: Any, args: tuple[Any, ...], named: dict[str, Any]) -> Any:
        return self.about(self, args[0]) if function is torch.exp else function(*args, **named)


X = torch.tensor([0.5, -1.0])


def gradient(rule: BackwardRule, compute: Any = lambda x: 3 * torch.exp(2 * x)) -> Tensor:
    """The gradient at X of the sum of 3 exp(2 x), whose plain value is 6 exp(2 x)."""
    x = X.clone().requires_grad_()
    rule.begin(RulePass(x, lambda values, _: values))
    with rule:
        score = compute(x).sum()
    (found,) = torch.autograd.grad(score, x)
    return found


PLAIN = 6 * (2 * X).exp()


def test_a_rule_sees_every_function_and_changes_nothing_by_itself() -> None:
    rule = Rule()
    torch.testing.assert_close(gradient(rule), PLAIN)
    assert torch.exp in rule.seen


def test_the_gradient_after_a_function_is_changed_at_its_output() -> None:
    def after(rule: BackwardRule, x: Tensor) -> Tensor:
        output = x.exp()
        rule.after(output, lambda arrived: arrived + 1)
        return output

    torch.testing.assert_close(gradient(OfExp(after)), 4 * 2 * (2 * X).exp())


def test_a_change_that_returns_nothing_only_looks() -> None:
    looked: list[Tensor] = []

    def after(rule: BackwardRule, x: Tensor) -> Tensor:
        output = x.exp()
        rule.after(output, lambda arrived: looked.append(arrived))
        return output

    torch.testing.assert_close(gradient(OfExp(after)), PLAIN)
    assert looked[0].tolist() == [3.0, 3.0]


def test_through_a_function_goes_what_the_rule_says() -> None:
    rule = OfExp(lambda rule, x: rule.through(torch.Tensor.exp, x, lambda arrived: 10 * arrived))
    torch.testing.assert_close(gradient(rule), torch.full((2,), 2 * 10 * 3.0))


def test_a_function_that_returns_its_input_is_refused() -> None:
    rule = OfExp(lambda rule, x: rule.through(torch.Tensor.exp_, x.detach(), lambda arrived: arrived))
    with pytest.raises(ValueError, match=r"call it on x\.clone\(\)"):
        gradient(rule)


def test_a_share_of_the_gradient_goes_on_and_the_values_are_the_same() -> None:
    torch.testing.assert_close(gradient(OfExp(lambda rule, x: rule.share(x, 0.25).exp())), PLAIN / 4)


def test_what_depends_on_the_images_is_known_also_through_containers() -> None:
    rule, weight = Rule(), torch.ones(2, requires_grad=True)
    x = X.clone()
    rule.begin(RulePass(x, lambda values, _: values))
    with rule:
        parts = torch.split(x * weight, 1)
        own = weight * 2
    assert rule.depends_on_images(x)
    assert all(map(rule.depends_on_images, parts))
    assert not rule.depends_on_images(own)
    assert not rule.depends_on_images(weight)
    assert not rule.depends_on_images("text")


def test_after_the_end_gradients_are_plain() -> None:
    rule = OfExp(lambda rule, x: rule.share(x, 0.25).exp())
    x = X.clone().requires_grad_()
    rule.begin(RulePass(x, lambda values, _: values))
    with rule:
        score = (3 * torch.exp(2 * x)).sum()
    rule.end()
    torch.testing.assert_close(torch.autograd.grad(score, x)[0], PLAIN)


def test_functions_within_are_seen() -> None:
    rule = Rule()
    rule.begin(RulePass(X, lambda values, _: values))
    assert torch.equal(rule.within(lambda: torch.exp(X)), X.exp())
    assert torch.exp in rule.seen


def test_tensors_are_found_in_arguments_of_every_form() -> None:
    one, two, three = torch.ones(1), torch.ones(2), torch.ones(3)
    assert [len(found) for found in tensors_in(((one, [two]), {"a": three, "b": 1}, None))] == [1, 2, 3]
