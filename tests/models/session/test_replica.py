"""The network that computes: the model's modules and tensors over again, elsewhere where that is asked."""

from __future__ import annotations

import copy
import threading

import pytest
import torch
from torch import Tensor, nn

import pellucid
from pellucid.core.runtime import Runtime
from tests.networks import TinyCNN, images, seeded

HALF = Runtime(precision="bfloat16")


def same(one: pellucid.Explanation, other: pellucid.Explanation) -> None:
    assert one.layers == other.layers
    torch.testing.assert_close(one.attributions, other.attributions)
    torch.testing.assert_close(one.logits, other.logits)


@pytest.mark.parametrize("change", ["data", "module", "hook"])
def test_a_private_copy_is_made_anew_when_the_model_changes(change: str) -> None:
    model, batch = seeded(TinyCNN), images(1)
    pellucid.explain(model, batch, runtime=HALF)
    if change == "data":
        for parameter in model.parameters():
            parameter.data.mul_(-2)
    elif change == "module":
        model.features[1] = nn.Tanh()
    else:
        model.fc.register_forward_hook(lambda _m, _i, out: out * 3)
    same(
        pellucid.explain(model, batch, runtime=HALF, layers=["features"]),
        pellucid.explain(copy.deepcopy(model), batch, runtime=HALF, layers=["features"]),
    )


def test_a_model_that_keeps_its_features_can_be_copied() -> None:
    class Keeping(TinyCNN):
        def forward(self, x: Tensor) -> Tensor:
            self.kept = self.features(x)
            return self.fc(self.kept.flatten(2).mean(-1))

    model = seeded(Keeping)
    model(images(1))
    assert pellucid.explain(model, images(1), runtime=HALF).heatmaps.isfinite().all()


def test_channels_last_volumes() -> None:
    model, batch = seeded(TinyCNN, 3), images(1, 3)
    found = pellucid.explain(model, batch, runtime=Runtime(channels_last=True))
    same(found, pellucid.explain(model, batch))


def test_a_model_that_holds_what_cannot_be_copied() -> None:
    model = seeded(TinyCNN)
    model.guard = threading.Lock()
    assert pellucid.explain(model, images(1), runtime=HALF).heatmaps.isfinite().all()


def test_a_buffer_made_under_inference_mode() -> None:
    class Shifted(TinyCNN):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * self.shift

    model = seeded(Shifted)
    with torch.inference_mode():
        model.register_buffer("shift", torch.full((4,), 2.0))
    assert not pellucid.explain(model, images(1), targets=1).degenerate.any()


def test_a_private_copy_follows_the_weights() -> None:
    model, batch = seeded(TinyCNN), images(1)
    half = Runtime(precision="bfloat16")
    first = pellucid.explain(model, batch, runtime=half, targets=0)
    with torch.no_grad():
        model.fc.weight.neg_()
    second = pellucid.explain(model, batch, runtime=half, targets=0)
    fresh = pellucid.explain(copy.deepcopy(model), batch, runtime=half, targets=0)
    torch.testing.assert_close(second.logits, fresh.logits)
    assert not torch.allclose(first.logits, second.logits)
    assert model.fc.weight.dtype == torch.float32
