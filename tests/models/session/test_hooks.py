"""Hooks note, begin graphs and run other functions while they are open, and nothing of them stays."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import pellucid
from pellucid.core.runtime import Runtime
from pellucid.errors import GradientError
from pellucid.models.engine import Pass
from pellucid.models.session.hooks import (
    at_rest,
    first_tensor,
    forwards,
    mapped,
    noted,
    recorded,
    replaced,
    stopped_at,
    watched,
)
from pellucid.models.session.session import Session
from tests.comparing import same
from tests.networks import TinyCNN, images, seeded


def test_a_layer_before_an_in_place_relu_is_not_rewritten() -> None:
    model, batch = seeded(TinyCNN).eval(), images(1)
    activations = Pass.of(Session.of(model, Runtime()), batch, ["features.3"]).activations()
    assert activations.min() < 0


class Pair(NamedTuple):
    first: Tensor
    second: int


@pytest.mark.parametrize(
    "answer",
    [
        lambda y: {"y": y, "more": 1},
        lambda y: OrderedDict(y=y),
        lambda y: (1, y),
        lambda y: [y, y * 2],
        lambda y: Pair(y, 3),
    ],
    ids=["dict", "OrderedDict", "tuple", "list", "named tuple"],
)
def test_a_layer_that_answers_more_than_a_tensor(answer: Callable[[Tensor], object]) -> None:
    class Part(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features = seeded(TinyCNN).features

        def forward(self, x: Tensor) -> object:
            return answer(self.features(x))

    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.part, self.fc = Part(), seeded(TinyCNN).fc

        def forward(self, x: Tensor) -> Tensor:
            found = self.part(x)
            assert type(found) is type(answer(x)), "the layer's answer keeps its kind"
            values = found.values() if isinstance(found, dict) else found
            return self.fc(next(v for v in values if isinstance(v, Tensor)).flatten(2).mean(-1))

    found = pellucid.explain(Whole(), images(1), layers=["part"], targets=0)
    expected = pellucid.explain(seeded(TinyCNN), images(1), layers=["features"], targets=0)
    torch.testing.assert_close(found.attributions, expected.attributions)


def test_a_layer_whose_output_is_an_inference_tensor() -> None:
    model = seeded(TinyCNN)
    expected = pellucid.explain(model, images(1), layers=["features"])
    model.features.forward = torch.inference_mode()(model.features.forward)
    same(pellucid.explain(model, images(1), layers=["features"]), expected)


def test_a_backbone_under_inference_mode() -> None:
    class Inferring(TinyCNN):
        def forward(self, x: Tensor) -> Tensor:
            with torch.inference_mode():
                y = self.features(x)
            return self.fc(y.clone().flatten(2).mean(-1))

    with pytest.raises(GradientError, match="inference_mode"):
        pellucid.explain(seeded(Inferring), images(1), layers=["features.3"])


def chain() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace=True), nn.Linear(4, 2))


def hooks_of(network: nn.Module) -> int:
    return sum(len(one._forward_hooks) + len(one._forward_pre_hooks) for one in network.modules())


X = torch.tensor([[0.5, -1.0, 2.0]])


def test_the_first_tensor_of_floats_stands_for_an_output() -> None:
    one, whole = torch.ones(2), torch.ones(2, dtype=torch.int64)
    assert first_tensor(one) is one
    assert first_tensor(whole) is None
    assert first_tensor((None, whole, one, X)) is one
    assert first_tensor({"count": whole, "x": one}) is one
    assert first_tensor("text") is None


def test_containers_keep_their_kind_and_the_rest_of_what_they_hold() -> None:
    old, new = torch.zeros(2), torch.ones(2)
    found = replaced(OrderedDict(a=[old, 3], b=Pair(old, 1), c="text", d=X), old, new)
    assert type(found) is OrderedDict
    assert found["a"][0] is new
    assert found["a"][1] == 3
    assert found["b"] == Pair(new, 1)
    assert found["c"] == "text"
    assert found["d"] is X
    assert torch.equal(mapped((old,), lambda tensor: tensor + 2)[0], torch.tensor([2.0, 2.0]))


def test_what_is_noted_is_not_rewritten_and_may_begin_a_graph() -> None:
    network = chain()
    with torch.no_grad(), noted({"first": network[0]}, graph=True) as outputs:
        out = network(X)
    torch.testing.assert_close(outputs["first"].detach(), F.linear(X, network[0].weight, network[0].bias).detach())
    (found,) = torch.autograd.grad(out[:, 1].sum(), outputs["first"])
    torch.testing.assert_close(found, network[2].weight[1:2] * (outputs["first"] > 0))
    with torch.no_grad(), noted({"first": network[0]}, graph=False) as outputs:
        assert not network(X).requires_grad


def test_modules_are_watched_in_the_order_in_which_they_begin_and_end() -> None:
    network, seen = nn.Sequential(chain(), nn.Sigmoid()), list[str]()
    with watched(network, lambda name, *_: seen.append(f"-{name}"), lambda name, *_: seen.append(f"+{name}")):
        network(X)
    assert seen == ["+", "+0", "+0.0", "-0.0", "+0.1", "-0.1", "+0.2", "-0.2", "-0", "+1", "-1", "-"]


def test_parameters_at_rest_need_no_gradient_until_the_end() -> None:
    network = chain()
    network[0].bias.requires_grad_(False)
    before = [parameter.requires_grad for parameter in network.parameters()]
    with at_rest(network):
        assert not network(X).requires_grad
    with suppress(RuntimeError), at_rest(network):
        network(torch.ones(1, 7))
    assert [parameter.requires_grad for parameter in network.parameters()] == before == [True, False, True, True]


def test_a_no_grad_of_the_networks_own_is_recorded() -> None:
    class Still(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.part = nn.Linear(3, 1)

        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                return self.part(x)

    network = Still()
    assert not network(X).requires_grad
    with recorded(network):
        assert network(X).requires_grad
    assert not network(X).requires_grad


def test_other_functions_run_and_the_modules_own_come_back() -> None:
    network = chain()
    network[2].forward = own = lambda x: x - 1
    expected = network(X)
    with forwards({network[0]: lambda x: torch.cat([x, x[:, :1]], 1), network[2]: lambda x: 2 * x}):
        assert network(X).tolist() == [[1.0, 0.0, 4.0, 1.0]]
    assert "forward" not in vars(network[0])
    assert network[2].forward is own
    assert torch.equal(network(X), expected)


def test_no_hook_stays_where_the_network_fails() -> None:
    network = chain()
    opened = [
        lambda: noted({"0": network[0]}, True),
        lambda: watched(network, lambda *_: None),
        lambda: recorded(network),
        lambda: forwards({network[0]: network[0].forward}),
    ]
    for one in opened:
        with suppress(RuntimeError), one():
            assert hooks_of(network) > 0
            network(torch.ones(1, 7))
        assert hooks_of(network) == 0


def test_a_pass_ends_at_the_module_whose_output_is_asked_for() -> None:
    model = seeded(TinyCNN).eval()
    ran: list[str] = []
    model.fc.register_forward_hook(lambda *_: ran.append("fc"))
    batch = images(2)
    with torch.no_grad():
        found = stopped_at(model.features, lambda: model(batch))
        assert ran == []
        torch.testing.assert_close(found, model.features(batch))
        assert stopped_at(nn.Identity(), lambda: model(batch)) is None
    assert ran == ["fc"]
