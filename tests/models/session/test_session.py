"""A session: where its inputs are, and its modules by name."""

from __future__ import annotations

import pytest
import torch

import pellucid
from pellucid.core.inputs import Inputs
from pellucid.core.runtime import Runtime
from pellucid.errors import LayerError
from pellucid.methods.input_x_gradient import InputXGradient
from pellucid.models.session.session import Session
from tests.networks import TinyCNN, images, seeded


def test_inputs_come_to_the_networks_device_in_their_own_precision() -> None:
    batch, count = images(2).double(), torch.tensor([1, 2])
    session = Session.of(seeded(TinyCNN).to("meta"), Runtime())
    moved = session.on_device(Inputs({"x": batch, "count": count})).tensors
    assert {name: (one.device.type, one.dtype) for name, one in moved.items()} == {
        "x": ("meta", torch.float64),
        "count": ("meta", torch.int64),
    }


def test_a_method_is_given_the_images_on_the_networks_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Methods multiply them with what the probe returns."""
    given = []
    plain = InputXGradient.attribute

    def noting(self, probe, targets):
        given.append(probe.inputs)
        return plain(self, probe, targets)

    there = Inputs.of(images(2).clone())
    monkeypatch.setattr(InputXGradient, "attribute", noting)
    monkeypatch.setattr(Session, "on_device", lambda _self, _inputs: there)
    pellucid.explain(seeded(TinyCNN), images(2), "input_x_gradient", targets=1)
    assert given
    assert all(one is there for one in given)


def test_unknown_layers_have_near_names() -> None:
    session = Session.of(seeded(TinyCNN), Runtime())
    with pytest.raises(LayerError, match="did you mean features"):
        session.modules(["feature"])
