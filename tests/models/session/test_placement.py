"""The network that computes: the model's modules and tensors over again, elsewhere where that is asked."""

from __future__ import annotations

import copy
import threading

import pytest
import torch
from torch import Tensor, nn

import pellucid
from pellucid.core.runtime import Runtime
from pellucid.models.session.placement import device_of, network_of, reference, stamp
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


def test_the_device_is_the_networks_or_the_one_that_was_asked_for() -> None:
    model = nn.Linear(2, 2, device="meta")
    assert device_of(model, Runtime()) == torch.device("meta")
    assert device_of(model, Runtime(device="cpu")) == torch.device("cpu")


def test_the_reference_is_the_first_tensor_of_floats() -> None:
    model = nn.Module()
    assert reference(model).dtype == torch.float32
    model.register_buffer("count", torch.ones(1, dtype=torch.int64))
    model.register_buffer("values", torch.ones(1, dtype=torch.float64))
    assert reference(model) is model.values


def test_a_network_in_the_models_own_place_shares_its_memory() -> None:
    model = seeded(TinyCNN)
    network = network_of(model, Runtime())
    assert network.fc is not model.fc
    assert network.fc.weight.data_ptr() == model.fc.weight.data_ptr()
    assert not network.training


def test_a_network_elsewhere_has_its_own_memory_and_is_made_once() -> None:
    model = seeded(TinyCNN)
    one, other = network_of(model, HALF), network_of(model, HALF)
    assert {tensor.dtype for tensor in one.parameters()} == {torch.bfloat16}
    assert {tensor.dtype for tensor in model.parameters()} == {torch.float32}
    torch.testing.assert_close(one.fc.weight.float(), model.fc.weight, rtol=1e-2, atol=1e-3)
    assert one.fc is not other.fc
    assert one.fc.weight.data_ptr() == other.fc.weight.data_ptr()
    with torch.no_grad():
        model.fc.weight.mul_(2)
    changed = network_of(model, HALF)
    torch.testing.assert_close(changed.fc.weight, 2 * one.fc.weight)


def test_channels_last_is_a_format_of_the_copy() -> None:
    model = seeded(TinyCNN)
    network = network_of(model, Runtime(channels_last=True))
    weights = [one.features[2].weight for one in (model, network)]
    assert [weight.is_contiguous(memory_format=torch.channels_last) for weight in weights] == [False, True]
    assert torch.equal(*weights)


def test_inference_tensors_are_copied_so_that_graphs_lead_through_them() -> None:
    with torch.inference_mode():
        model = seeded(TinyCNN)
    network = network_of(model, Runtime())
    assert not any(tensor.is_inference() for tensor in network.parameters())
    x = images(1).requires_grad_()
    network(x).sum().backward()
    assert x.grad.any()


@pytest.mark.parametrize("change", ["write", "data", "tensor", "module", "nothing"])
def test_a_stamp_changes_when_the_model_does(change: str) -> None:
    model = seeded(TinyCNN)
    before = stamp(model)
    if change == "write":
        with torch.no_grad():
            model.fc.weight[0, 0] += 1
    elif change == "data":
        model.fc.weight.data.mul_(2)
    elif change == "tensor":
        model.fc.weight = nn.Parameter(model.fc.weight.detach().clone())
    elif change == "module":
        model.features[1] = nn.ReLU(inplace=True)
    assert (stamp(model) == before) == (change == "nothing")
