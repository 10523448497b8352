"""Torch's functions by what they compute, held against what they compute."""

from __future__ import annotations

import inspect

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid.core.functions import (
    ACTIVATIONS,
    IN_PLACE,
    RECTIFIERS,
    SDPA_ARGUMENTS,
    bound,
    is_rectifier,
    multi_head_attention,
    operands,
    without_dispatch,
)


def name(function: object) -> str:
    return getattr(function, "__qualname__", str(function))


def value(function: object, number: float) -> float:
    more = [torch.tensor([0.25])] if function is F.prelu else []
    return function(torch.tensor([float(number)]), *more).item()


@pytest.mark.parametrize("writing", IN_PLACE, ids=name)
def test_what_writes_gives_what_its_plain_form_gives(writing: object) -> None:
    x = torch.linspace(-3, 3, 25)
    expected = IN_PLACE[writing](x)
    assert torch.equal(x, torch.linspace(-3, 3, 25)), "the plain form writes nothing"
    torch.testing.assert_close(writing(x), expected)
    assert torch.equal(x, expected)


@pytest.mark.parametrize("function", sorted(RECTIFIERS, key=name), ids=name)
def test_rectifiers_pass_positive_values_on_and_suppress_negative_ones(function: object) -> None:
    assert value(function, 0.9) > 0.3
    assert abs(value(function, -4)) < 2
    assert is_rectifier(function, (), {})


@pytest.mark.parametrize("function", sorted(ACTIVATIONS, key=name), ids=name)
def test_activations_are_near_0_at_0_and_take_each_element_alone(function: object) -> None:
    assert abs(value(function, 0)) < 0.7
    numbers = [-2.0, -0.5, 0.5, 2.0]
    together = function(torch.tensor(numbers)).tolist()
    # Torch computes four numbers by other instructions than one, which round otherwise.
    assert together == pytest.approx([value(function, number) for number in numbers], rel=1e-4)


@pytest.mark.parametrize(
    ("function", "args", "named", "is_one"),
    [
        (torch.clamp, (0,), {}, True),
        (Tensor.clamp_, (), {"min": 0.0}, True),
        (F.threshold, (0, 0), {}, True),
        (torch.clamp, (0.5,), {}, False),
        (torch.clamp, (), {"max": 0}, False),
        (torch.clamp, (torch.zeros(1),), {}, False),
        (torch.sigmoid, (), {}, False),
        (torch.tanh, (), {}, False),
    ],
)
def test_a_clamp_from_0_is_a_relu(
    function: object, args: tuple[object, ...], named: dict[str, object], is_one: bool
) -> None:
    assert is_rectifier(function, (torch.ones(1), *args), named) == is_one


def test_the_arguments_of_attention_are_torchs() -> None:
    schema = torch.ops.aten.scaled_dot_product_attention.default._schema
    assert tuple(argument.name for argument in schema.arguments) == SDPA_ARGUMENTS


def test_arguments_are_bound_by_name() -> None:
    x = torch.ones(1)
    assert bound(F.leaky_relu, (x, 0.3), {"inplace": True}) == {"input": x, "negative_slope": 0.3, "inplace": True}
    assert bound(torch.relu, (x,), {}) == {"input": x}
    with pytest.raises(ValueError, match="no signature"):
        inspect.signature(torch.relu)


def test_the_operands_of_an_einsum_may_be_a_list() -> None:
    one, other = torch.ones(1), torch.ones(2)
    for given in ((one, other), [one, other]):
        found = operands(("i,j->ij", given))
        assert found[0] == "i,j->ij"
        assert found[1] is one
        assert found[2] is other
    assert operands(("i,j->ij", one, other)) == ("i,j->ij", one, other)


@pytest.mark.parametrize("need_weights", [True, False])
def test_multi_head_attention_is_seen_within_and_gives_what_torch_gives(need_weights: bool) -> None:
    class Seeing(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            if func is F.multi_head_attention_forward:
                return multi_head_attention(self.within, func, args, kwargs or {})
            seen.append(func)
            return func(*args, **(kwargs or {}))

        def within(self, run):
            with self:
                return run()

    seen: list[object] = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module, x = nn.MultiheadAttention(8, 2).eval(), torch.randn(5, 1, 8)
    expected = module(x, x, x, need_weights=need_weights)
    with Seeing():
        output, weights = module(x, x, x, need_weights=need_weights)
    assert F.scaled_dot_product_attention in seen
    torch.testing.assert_close(output, expected[0])
    assert (weights is None) == (not need_weights)
    if need_weights:
        torch.testing.assert_close(weights, expected[1])


def test_without_its_dispatch_a_function_is_not_given_to_modes_and_keeps_its_defaults() -> None:
    x = torch.linspace(-1, 1, 5)
    torch.testing.assert_close(without_dispatch(F.leaky_relu)(x), F.leaky_relu(x))
