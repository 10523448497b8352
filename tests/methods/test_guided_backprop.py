"""Guided gradients find the activation functions however they are called."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import pellucid


def clamped(x: Tensor) -> Tensor:
    return x.clamp(min=0)


def thresholded(x: Tensor) -> Tensor:
    return F.threshold(x, 0, 0)


ACTIVATIONS = [nn.ReLU(), nn.ReLU(inplace=True), nn.ReLU6(), nn.ReLU6(inplace=True), F.relu, F.relu6, torch.relu]
ACTIVATIONS += [clamped, thresholded]


class Small(nn.Module):
    def __init__(self, activation) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 2, 3)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.activation(self.first(x))).mean((2, 3))


def by_hand(model: Small, image: Tensor) -> Tensor:
    """The largest guided gradient over the channels: what flows back through the activation is cut at 0 by hand."""
    with torch.no_grad():
        before = model.first(image)
    leaf = before.requires_grad_()
    after = F.relu(leaf)
    (gradient,) = torch.autograd.grad(model.second(after).mean((2, 3))[:, 1].sum(), after)
    image = image.clone().requires_grad_()
    cut = gradient.relu() * (before > 0)
    (guided,) = torch.autograd.grad(model.first(image), image, cut)
    return guided


@pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda each: getattr(each, "__name__", str(each)))
def test_the_rule_holds_for_every_way_to_call_a_relu(activation) -> None:
    model, image = Small(activation).eval(), torch.randn(2, 1, 9, 9, generator=torch.Generator().manual_seed(1))
    found = pellucid.explain(model, image, method="guided_backprop", targets=1)
    expected = by_hand(model, image)
    torch.testing.assert_close(found.attributions[:, 0].abs(), expected.abs().amax(1), rtol=1e-5, atol=1e-7)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:FutureWarning")
def test_what_cannot_be_seen_is_refused() -> None:
    model = Small(nn.ReLU()).eval()
    model.activation = torch.jit.script(nn.ReLU())
    with pytest.raises(pellucid.PellucidError, match="a part of the model is TorchScript"):
        pellucid.explain(model, torch.zeros(1, 1, 9, 9), method="guided_backprop")
