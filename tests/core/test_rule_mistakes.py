"""A backward rule: what it may change, the example of the documentation, and its author's mistakes in one line."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid.core.functions import is_rectifier, of_input
from pellucid.core.rule import BackwardRule
from pellucid.core.runtime import Runtime
from pellucid.core.target import Targets
from pellucid.errors import GradientError, MethodError, ShapeError
from pellucid.models.engine import Pass
from pellucid.models.session.session import Session

PAGE = (Path(__file__).parents[2] / "docs" / "adding-a-method.md").read_text(encoding="utf-8")
RECTGRAD = re.search(r"```python\n(class RectRule.*?)```", PAGE, re.DOTALL)
DECONVNET = re.search(r"(class DeconvnetRule.*?)\n\n@register_method", PAGE, re.DOTALL)


class Small(nn.Module):
    """Convolution, activation function, convolution; the mean is the score."""

    def __init__(self, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second, self.activation = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 3, 3), activation

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.activation(self.first(x))).mean((2, 3))


IMAGES = torch.randn(2, 1, 9, 9, generator=torch.Generator().manual_seed(1))


def gradients(rule: BackwardRule, targets: object = 1, activation: Callable[[Tensor], Tensor] = F.relu) -> Tensor:
    probe = Pass.of(Session.of(Small(activation).eval(), Runtime()), IMAGES)
    return probe.input_gradients(Targets(targets), rule)


def example(text: str, name: str) -> type[BackwardRule]:
    scope = {"torch": torch, "BackwardRule": BackwardRule, "is_rectifier": is_rectifier, "of_input": of_input}
    exec(text, scope)
    return scope[name]


def rectified(output: Tensor, gradient: Tensor, quantile: float) -> Tensor:
    """RectGrad's backward for one image: cell by cell, after sorting the products."""
    products = sorted((output * gradient).flatten().tolist())
    threshold = products[int(quantile * (len(products) - 1))]
    found = torch.zeros_like(gradient)
    for index in torch.cartesian_prod(*map(torch.arange, gradient.shape)).tolist():
        at = tuple(index)
        if output[at] * gradient[at] > threshold:
            found[at] = gradient[at]
    return found


def by_hand(target: int, backward: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Tensor:
    """The gradient (B, C, *space) whose step at the ReLU is ``backward(input, output, gradient)`` of one image."""
    model = Small(F.relu).eval()
    results = []
    for image in IMAGES:
        leaf = image[None].clone().requires_grad_()
        before = model.first(leaf)
        after = before.detach().relu().requires_grad_()
        (gradient,) = torch.autograd.grad(model.second(after).mean((2, 3))[0, target], after)
        step = backward(before.detach()[0], after.detach()[0], gradient[0])
        (found,) = torch.autograd.grad(before, leaf, step[None])
        results.append(found[0])
    return torch.stack(results)


def followed(x: Tensor) -> Tensor:
    """A ReLU whose output is then written into: one that keeps its input for the gradient allows that."""
    return x.clamp(0).add_(3.0)


@pytest.mark.parametrize("activation", [F.relu, followed], ids=["plain", "written into"])
@pytest.mark.parametrize("targets", [1, "all"])
def test_the_rule_that_uses_an_output_is_rectgrad(activation: Callable[[Tensor], Tensor], targets: object) -> None:
    found = gradients(example(RECTGRAD[1], "RectRule")(0.8), targets, activation)
    for column, target in enumerate([1] if targets == 1 else [0, 1, 2]):
        expected = by_hand(target, lambda x, y, g: rectified(y, g, 0.8) * (x > 0))
        torch.testing.assert_close(found[:, column], expected, rtol=1e-5, atol=1e-8)
    assert found.abs().sum() > 0


WAYS = {
    "by name": lambda x: torch.relu(input=x),
    "by name in place": lambda x: F.relu(input=x, inplace=True),
    "clamped": lambda x: x.clamp(0),
    "clamped by name": lambda x: torch.clamp(min=0, input=x),
    "threshold": lambda x: F.threshold(x, 0, 0),
}


@pytest.mark.parametrize("way", WAYS)
def test_the_rule_of_the_documentation_takes_every_form_of_a_call(way: str) -> None:
    found = gradients(example(DECONVNET[1], "DeconvnetRule")(), activation=WAYS[way])
    torch.testing.assert_close(found[:, 0], by_hand(1, lambda x, y, g: g.relu()), rtol=1e-5, atol=1e-8)


def test_a_change_that_cannot_be_mapped_over_classes_gives_the_same() -> None:
    class Plain(BackwardRule):
        asked, needed = "halves", "known activation function"

        def change(self, gradient: Tensor) -> Tensor:
            return gradient / 2

        def call(self, function, args, named):
            output = function(*args, **named)
            if is_rectifier(function, args, named):
                self.after(output, self.change)
            return output

    class Decides(Plain):
        def change(self, gradient: Tensor) -> Tensor:
            return gradient / 2 if gradient.abs().max().item() > 0 else gradient

    torch.testing.assert_close(gradients(Decides(), "all"), gradients(Plain(), "all"))


def made(change: Callable[[Tensor], object], way: str) -> BackwardRule:
    class Wrong(BackwardRule):
        asked = "wrong gradients"

        def call(self, function, args, named):
            if not is_rectifier(function, args, named):
                return function(*args, **named)
            if way == "through":
                return self.through(torch.relu, args[0], change)
            output = function(*args, **named)
            self.after(output, change)
            return output

    return Wrong()


@pytest.mark.parametrize("targets", [1, "all"])
@pytest.mark.parametrize(
    ("way", "change", "found"),
    [
        ("through", lambda gradient: gradient.sum(1), "(2, 7, 7) torch.float32"),
        ("after", lambda gradient: gradient.sum(1), "(2, 7, 7) torch.float32"),
        ("after", lambda gradient: gradient.double(), "(2, 4, 7, 7) torch.float64"),
        ("through", lambda gradient: None, "NoneType"),
        ("after", lambda gradient: 0.0, "float"),
    ],
)
def test_a_gradient_of_another_shape_or_type_is_refused(
    way: str, change: Callable[[Tensor], object], found: str, targets: object
) -> None:
    with pytest.raises(ShapeError) as caught:
        gradients(made(change, way), targets)
    assert str(caught.value) == (
        f"Wrong changed a gradient to {found}; one of the shape and type of the tensor was expected: "
        "(2, 4, 7, 7) torch.float32"
    )


def test_a_change_may_only_look() -> None:
    looked: list[Tensor] = []
    found = gradients(made(looked.append, "after"))
    torch.testing.assert_close(found[:, 0], by_hand(1, lambda x, y, g: g * (x > 0)), rtol=1e-5, atol=1e-8)
    assert [tuple(one.shape) for one in looked] == [(2, 4, 7, 7)]


def test_a_function_that_returns_its_input_is_refused() -> None:
    class Wrong(BackwardRule):
        asked = "wrong gradients"

        def call(self, function, args, named):
            run = torch.relu_ if is_rectifier(function, args, named) else None
            return self.through(run, args[0], torch.relu) if run else function(*args, **named)

    with pytest.raises(MethodError, match=r"Wrong\.through was given a function that returned its input: .* x\.clone"):
        gradients(Wrong())


def test_a_rule_without_a_name_for_messages_is_refused() -> None:
    with pytest.raises(MethodError, match=r"the backward rule Nameless does not say what its result is called: set"):

        class Nameless(BackwardRule):
            needed = "known activation function"


def test_a_network_in_which_a_rule_changes_nothing_is_refused() -> None:
    rule = example(RECTGRAD[1], "RectRule")(0.8)
    gradients(rule)
    with pytest.raises(GradientError, match="rectified gradients were asked for; the model runs no activation"):
        gradients(rule, activation=torch.cos)  # although it changed some in the pass before
