"""Modules and weights that a model knows by two names come back as they were."""

from __future__ import annotations

from contextlib import suppress

import pytest
import torch
from torch import Tensor, nn

import pellucid
from pellucid.models.session.twin import twin
from tests.networks import TinyCNN, TinyViT, images, seeded

METHODS = pellucid.available_methods()


class Aliased(nn.Module):
    """As explainers' users write it: the layer to look at, once more by a name of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.net = seeded(TinyViT)
        self.target_layer = self.net.blocks[1]
        nn.init.zeros_(self.net.head.weight)  # so that noise is put there to look for a layer
        self.classifier = self.net.head

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class Tied(nn.Module):
    """Two modules with one weight, and one module that is two blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.net = seeded(TinyViT)
        self.net.blocks[1].proj.weight = self.net.blocks[0].proj.weight
        self.net.blocks = nn.Sequential(self.net.blocks[0], self.net.blocks[1], self.net.blocks[1])

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", [Aliased, Tied])
def test_the_weights_are_the_same_objects_with_the_same_values(kind: type[nn.Module], method: str) -> None:
    model = kind().eval()
    slots = [(module, name) for module in model.modules() for name in module._parameters]
    before = [(module._parameters[name], module._parameters[name].detach().clone()) for module, name in slots]
    with suppress(pellucid.PellucidError):  # a weight that is nothing, a block that runs twice
        pellucid.explain(model, images(1), method=method)
    for (module, name), (parameter, value) in zip(slots, before, strict=True):
        assert module._parameters[name] is parameter
        assert torch.equal(parameter, value)
        assert parameter.requires_grad
        assert parameter.grad is None


def test_a_graph_that_was_there_before_still_leads_to_the_parameters() -> None:
    """Explaining between a forward pass and its backward pass."""
    model = seeded(TinyCNN).eval()
    loss = model(images(2)).square().mean()
    pellucid.explain(model, images(1), method="saliency")
    loss.backward()
    expected = seeded(TinyCNN).eval()
    expected(images(2)).square().mean().backward()
    for one, other in zip(model.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)


def test_parameters_come_back_where_the_model_fails() -> None:
    class Failing(TinyCNN):
        def forward(self, x: Tensor) -> Tensor:
            out = super().forward(x)
            if x.requires_grad:
                raise ValueError("no")
            return out

    model = seeded(Failing)
    with pytest.raises(ValueError, match="no"):
        pellucid.explain(model, images(1), method="saliency")
    assert all(parameter.requires_grad for parameter in model.parameters())


class Rows(nn.Module):
    """Runs its layers from a tuple, in which numbers stand, too."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 2, 3)
        self.rows = ((1.0, self.first), (2.0, self.second))

    def forward(self, x: Tensor) -> Tensor:
        for factor, layer in self.rows:
            x = factor * layer(x)
        return x.mean((2, 3))


def test_modules_in_a_tuple_are_the_twins() -> None:
    """A tuple of numbers alone is shared."""
    model = Rows()
    copied = twin(model)
    assert [layer for _, layer in copied.rows] == [copied.first, copied.second]
    assert copied.first is not model.first
    assert copied.first.kernel_size is model.first.kernel_size
    assert torch.equal(copied(images(1)), model(images(1)))
