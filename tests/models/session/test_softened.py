"""Softplus in place of ReLU: equal to a network written with softplus, however ReLU is called."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import pellucid
from pellucid.core.inputs import Inputs
from pellucid.models.session.session import Session
from tests.attacks.networks import pictures


def softened(x, beta, low=0.0, high=None):
    found = low + F.softplus(beta * (x - low)) / beta
    return found if high is None else found - F.softplus(beta * (x - high)) / beta


def parametric(x, slopes):
    """PReLU with a slope for each of two channels."""
    return torch.stack([slope * x[:, c] + (1 - slope) * softened(x[:, c], 5) for c, slope in enumerate(slopes)], 1)


CALLS = [
    (lambda x: F.relu(x), lambda x: softened(x, 5)),
    (lambda x: torch.relu(x), lambda x: softened(x, 5)),
    (lambda x: x.relu(), lambda x: softened(x, 5)),
    (lambda x: nn.ReLU(inplace=True)(x * 1), lambda x: softened(x, 5)),
    (lambda x: (x * 1).relu_(), lambda x: softened(x, 5)),
    (lambda x: x.clamp(min=0), lambda x: softened(x, 5)),
    (lambda x: x.clamp(0), lambda x: softened(x, 5)),
    (lambda x: x.clamp(-1, 2), lambda x: x.clamp(-1, 2)),
    (lambda x: nn.ReLU6()(x), lambda x: softened(x, 5, 0, 6)),
    (lambda x: nn.ReLU6(inplace=True)(x * 1), lambda x: softened(x, 5, 0, 6)),
    (lambda x: F.hardtanh(x), lambda x: softened(x, 5, -1, 1)),
    (lambda x: F.leaky_relu(x, 0.2), lambda x: 0.2 * x + 0.8 * softened(x, 5)),
    (lambda x: nn.LeakyReLU()(x), lambda x: 0.01 * x + 0.99 * softened(x, 5)),
    (lambda x: F.prelu(x, torch.tensor([0.1, 0.4], dtype=x.dtype)), lambda x: parametric(x, [0.1, 0.4])),
    (lambda x: torch.prelu(x, torch.tensor([0.3], dtype=x.dtype)), lambda x: parametric(x, [0.3, 0.3])),
    (lambda x: nn.PReLU(2, init=0.25, dtype=x.dtype)(x), lambda x: parametric(x, [0.25, 0.25])),
    (lambda x: F.hardsigmoid(x), lambda x: softened(x + 3, 5, 0, 6) / 6),
    (lambda x: nn.Hardsigmoid(inplace=True)(x * 1), lambda x: softened(x + 3, 5, 0, 6) / 6),
    (lambda x: F.gelu(x), lambda x: F.gelu(x)),
    (lambda x: torch.tanh(x), lambda x: torch.tanh(x)),
]


@pytest.mark.parametrize(("call", "expected"), CALLS)
def test_softplus_stands_for_every_relu(call, expected):
    class Calling(nn.Module):
        def forward(self, x):
            return call(4 * x - 2).flatten(1)

    model, images = Calling(), pictures(2, size=(3, 3)).double()
    plain = Session.of(model, pellucid.Runtime())
    with torch.no_grad():
        usual = plain.call(Inputs.of(images))
        soft = replace(plain, beta=5.0).call(Inputs.of(images))
    torch.testing.assert_close(usual, call(4 * images - 2).flatten(1))
    torch.testing.assert_close(soft, expected(4 * images - 2).flatten(1), rtol=1e-9, atol=1e-9)


def test_a_relu_in_place_writes_into_its_input_with_softplus_too():
    class Ignoring(nn.Module):
        """Uses what a ReLU in place has written, and not what it returns."""

        def forward(self, x):
            y = x * 4 - 2
            nn.functional.relu(y, inplace=True)
            return y.flatten(1)

    images = pictures(2, size=(3, 3)).double().requires_grad_()
    soft = replace(Session.of(Ignoring(), pellucid.Runtime()), beta=5.0)
    found = soft.call(Inputs.of(images))
    torch.testing.assert_close(found, softened(4 * images - 2, 5).flatten(1))
    (slope,) = torch.autograd.grad(found.sum(), images)
    torch.testing.assert_close(slope, 4 * torch.sigmoid(5 * (4 * images - 2)).detach())
