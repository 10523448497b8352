"""AttnLRP's rules hold however a network calls its functions, and leave the pass as it is."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import pellucid
from pellucid.core.runtime import Runtime
from pellucid.core.target import Targets
from pellucid.methods.attnlrp import AttnLRPRule
from pellucid.models.engine import Pass
from pellucid.models.session.session import Session
from tests.networks import TinyViT, images, seeded


class Bent(TinyViT):
    """A function stands between the blocks and the last norm."""

    def __init__(self, function, *more: object) -> None:
        super().__init__(*more)
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.function(self.blocks(self.embed(x))))[:, 0])


def bent(function) -> nn.Module:
    model = seeded(TinyViT)
    model.__class__ = Bent
    model.function = function
    return model


def relevance(function) -> Tensor:
    return pellucid.explain(bent(function), images(2), method="attnlrp", targets="all").attributions


ACTIVATIONS = [F.relu, F.elu, F.celu, F.selu, F.silu, F.mish, F.hardswish, F.leaky_relu, F.relu6, F.hardtanh]


@pytest.mark.parametrize("function", ACTIVATIONS, ids=lambda function: function.__name__)
def test_functions_that_write_into_what_they_get(function) -> None:
    """Given by name; that the rule is not the gradient for them shows that it is kept."""
    plain = relevance(lambda x: function(x.clone()))
    torch.testing.assert_close(relevance(lambda x: function(x.clone(), inplace=True)), plain)
    gradient = pellucid.explain(bent(function), images(2), method="input_x_gradient", targets="all").attributions
    assert not torch.allclose(gradient, plain, rtol=0.01)


@pytest.mark.parametrize(
    ("writing", "plain"),
    [
        (torch.relu_, torch.relu),
        (Tensor.tanh_, torch.tanh),
        (lambda x: F.elu(x, 1.0, True), F.elu),
        (lambda x: F.hardswish(x, True), F.hardswish),
        (lambda x: F.selu(x, True), F.selu),
        (F.elu_, F.elu),
        (F.leaky_relu_, F.leaky_relu),
        (nn.ReLU(inplace=True), F.relu),
    ],
)
def test_in_other_ways(writing, plain) -> None:
    torch.testing.assert_close(relevance(lambda x: writing(x.clone())), relevance(plain))


def test_what_is_written_is_there() -> None:
    """A network may go on with what it gave."""

    def both(x: Tensor) -> Tensor:
        kept = x.clone()
        F.silu(kept, inplace=True)
        return kept

    model = bent(both).eval()
    with torch.no_grad():
        expected = model(images(2))
    torch.testing.assert_close(pellucid.explain(model, images(2), method="attnlrp").logits, expected)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (lambda x: F.layer_norm(x, (24,)), lambda x: torch.layer_norm(x, (24,))),
        (lambda x: F.rms_norm(x, (24,)), lambda x: torch.rms_norm(x, (24,))),
        (lambda x: F.layer_norm(x, (24,)), lambda x: F.group_norm(x.flatten(0, 1), 1).view_as(x)),
        (lambda x: F.group_norm(x, 1), lambda x: torch.group_norm(x, 1)),
        (lambda x: F.normalize(x, dim=-1), lambda x: F.rms_norm(x, (24,), eps=0.0) / 24**0.5),
        (F.gelu, lambda x: nn.GELU()(x)),
    ],
    ids=["layer norm", "rms norm", "group norm as layer norm", "group norm", "length", "module"],
)
def test_the_same_function_by_another_name(one, other) -> None:
    torch.testing.assert_close(relevance(one), relevance(other), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("function", [F.gelu, F.relu, lambda x: F.layer_norm(x, (24,))])
def test_what_runs_without_gradients_gets_nothing(function) -> None:
    def hidden(x: Tensor) -> Tensor:
        with torch.no_grad():
            change = function(x)
        return x + change

    found = relevance(hidden)
    assert found.isfinite().all()


def attended(fused: bool) -> Tensor:
    """Attention whose bias depends on its queries."""

    def function(x: Tensor) -> Tensor:
        q = k = v = x[:, None]
        bias = q @ x[:, None, :4].sum(-2, keepdim=True).mT * torch.linspace(-1, 1, x.shape[1])
        if fused:
            return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)[:, 0]
        return ((q @ k.mT / 24**0.5 + bias).softmax(-1) @ v)[:, 0]

    return relevance(function)


def test_a_bias_that_is_an_activation_gets_its_half() -> None:
    torch.testing.assert_close(attended(fused=True), attended(fused=False), rtol=1e-4, atol=1e-6)


def test_a_weight_that_is_computed_is_no_activation() -> None:
    """Also where the parameters take part in the graph, as for training by explanations."""
    model = seeded(TinyViT)
    model.__class__ = Bent
    scale = nn.Parameter(torch.linspace(0.5, 1.5, 24))
    model.register_parameter("scale", scale)
    model.function = lambda x: x * (2 * scale).view(1, 1, -1)
    batch = images(2)
    with torch.enable_grad():
        probe = Pass.of(Session.of(model, Runtime()), batch)
        plain = probe.input_gradients(Targets(1), AttnLRPRule())
        whole = probe.differentiable().input_gradients(Targets(1), AttnLRPRule())
    torch.testing.assert_close(plain, whole)
