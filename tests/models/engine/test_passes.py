"""What goes through the network, and how often."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import pellucid
from pellucid.core.runtime import Runtime
from pellucid.core.target import Targets
from pellucid.models.engine import Pass
from pellucid.models.session.session import Session
from tests.networks import TinyCNN, TinyViT, Wrapped, images, seeded


def test_several_layers_and_classes_come_from_one_pass() -> None:
    model, batch = seeded(TinyCNN), images(2)
    calls: list[int] = []
    model.register_forward_hook(lambda *_: calls.append(1))
    layers = ["features.1", "features.3", "features"]
    pellucid.explain(model, batch, layers=layers)  # finds out how the layers lie
    calls.clear()
    found = pellucid.explain(model, batch, layers=layers, targets="all")
    assert len(calls) == 1
    assert found.heatmaps.shape[1] == 4


# The methods that cost a prediction; the others say in their docstrings how many passes they make.
@pytest.mark.parametrize("method", ["gradcam", "gradcam++", "hirescam", "layercam", "xgradcam", "eigencam", "rollout"])
def test_the_first_call_finds_the_layer_and_later_ones_do_not_look_again(method: str) -> None:
    model, batch = seeded(TinyViT), images(2)
    calls = []
    model.register_forward_hook(lambda *_: calls.append(1))
    pellucid.explain(model, batch, method=method)
    calls.clear()
    pellucid.explain(model, batch, method=method)
    assert len(calls) == 1


def test_a_compiled_part_is_looked_into() -> None:
    batch = images(1)
    expected = pellucid.explain(Wrapped(seeded(TinyCNN)), batch, layers=["backbone.features"])
    model = Wrapped(torch.compile(seeded(TinyCNN), backend="eager"))
    found = pellucid.explain(model, batch, layers=["backbone._orig_mod.features"])
    torch.testing.assert_close(found.heatmaps, expected.heatmaps)


def test_input_gradients_equal_autograd() -> None:
    model, batch = seeded(TinyCNN).eval(), images(2)
    probe = Pass.of(Session.of(model, Runtime()), batch)
    found = probe.input_gradients(Targets([1, 2]))
    scores = probe.scores()
    leaf = batch.clone().requires_grad_()
    logits = model(leaf)
    (expected,) = torch.autograd.grad(logits[0, 1] + logits[1, 2], leaf)
    torch.testing.assert_close(found[:, 0], expected)
    torch.testing.assert_close(scores, logits.detach())
    assert batch.grad is None


def test_input_gradients_of_a_mapping_are_its_firsts() -> None:
    class Two(TinyCNN):
        def forward(self, x: Tensor, shift: Tensor) -> Tensor:
            return super().forward(x) + shift

    model, batch = seeded(Two).eval(), {"x": images(2), "shift": torch.ones(2, 4)}
    found = Pass.of(Session.of(model, Runtime()), batch).input_gradients(Targets(0))
    assert found.shape == (2, 1, 3, 32, 32)


def test_perturbed_images_get_a_pass_of_their_own() -> None:
    model, batch = seeded(TinyCNN).eval(), images(2)
    with torch.no_grad():
        probe = Pass.of(Session.of(model, Runtime()), batch, ["features"])
        own = probe.scores()
        darker = probe.on(batch * 0.5)
        torch.testing.assert_close(darker.scores(), model(batch * 0.5))
        torch.testing.assert_close(probe.scores(), own)
        torch.testing.assert_close(darker.activations()[:, 0], model.features(batch * 0.5))
