"""The activation of a head, which weights do not show."""

from __future__ import annotations

import pytest
from torch import nn

from pellucid.models.checkpoints.heads import ACTIVATIONS
from pellucid.models.registries.activation import activation_of


def row(*between: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Sequential(nn.Linear(8, 4), *between, nn.Linear(4, 2)))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation(name: str) -> None:
    assert activation_of(row(ACTIVATIONS[name]())) == name


@pytest.mark.parametrize(
    ("between", "name"),
    [
        ((nn.ReLU(inplace=True),), "relu"),
        ((nn.Dropout(),), "none"),
        ((nn.GELU(approximate="tanh"),), None),
        ((nn.LeakyReLU(0.2, inplace=True),), None),
        ((nn.LeakyReLU(0.01, inplace=True),), "leaky_relu"),
        ((nn.ReLU(), nn.Linear(4, 4), nn.GELU()), None),
        ((nn.ReLU(), nn.Linear(4, 4), nn.ReLU()), "relu"),
    ],
)
def test_rows(between: tuple[nn.Module, ...], name: str | None) -> None:
    assert activation_of(row(*between)) == name


def test_a_network_without_a_row() -> None:
    assert activation_of(nn.Sequential(nn.Flatten(), nn.Linear(4, 2))) is None
