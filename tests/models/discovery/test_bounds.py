"""Networks whose functions cannot be followed: logits that other images take out of [0, 1] are no probabilities."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torchvision
from torch import Tensor, nn

import pellucid
from pellucid.core.inputs import Inputs
from pellucid.core.runtime import Runtime
from pellucid.models.discovery.bounds import leaves_range
from pellucid.models.session.session import Session
from tests.models.sources.test_onnx import written
from tests.networks import TinyCNN, images, seeded


class Within(nn.Module):
    """A network whose first score of the tests' images is in the middle of [0, 1]."""

    def __init__(self, network: nn.Module, last: Callable[[Tensor], Tensor] | None = None) -> None:
        super().__init__()
        self.network, self.last = network.eval(), last
        with torch.no_grad():
            self.register_buffer("offset", 0.5 - network(images(2)).mean())

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.network(x) + self.offset
        return logits if self.last is None else self.last(logits)


def traced(model: nn.Module) -> nn.Module:
    """The model as TorchScript, saved and loaded."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, of scripts
        kept = io.BytesIO()
        torch.jit.save(torch.jit.trace(model.eval(), images(1)), kept)
        kept.seek(0)
        loaded: nn.Module = torch.jit.load(kept)
    return loaded


def resnet() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return torchvision.models.resnet18(num_classes=1)


def warned(model: nn.Module) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pellucid.explain(model, images(2), pellucid.methods.Occlusion(window=16, stride=16), targets=0)
    return [str(one.message) for one in caught if "from 0 to 1" in str(one.message)]


@pytest.mark.parametrize("make", [lambda: seeded(TinyCNN, 2, 1), resnet])
def test_a_logit_that_happens_to_lie_there_is_not_warned_of(make: Callable[[], nn.Module]) -> None:
    model = Within(make())
    assert bool(((model(images(2)) > 0) & (model(images(2)) < 1)).all())
    assert warned(traced(model)) == []


@pytest.mark.parametrize("last", [torch.sigmoid, nn.Hardsigmoid(), lambda z: 0.5 + z.atan() / torch.pi])
def test_what_never_leaves_it_is(last: Callable[[Tensor], Tensor]) -> None:
    assert len(warned(traced(Within(seeded(TinyCNN, 2, 1), last)))) == 1


def test_an_onnx_graph_with_a_logit_there_is_not_warned_of(tmp_path: Path) -> None:
    assert (
        warned(pellucid.load_model(f"onnx:{written(Within(seeded(TinyCNN, 2, 1)), tmp_path / 'network.onnx')}")) == []
    )


@pytest.mark.parametrize("raw", [-0.1, 1.1])
def test_one_value_on_either_side_decides(raw: float) -> None:
    class Given(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([torch.full((len(x),), raw), torch.full((len(x),), 0.5)], 1)

    assert leaves_range(Session.of(Given(), Runtime()), Inputs.of(images(1)))


def test_a_network_that_takes_no_such_images_is_taken_at_its_range() -> None:
    class Refuses(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if float(x.min()) < 0:
                raise ValueError("no radiograph")
            return x.flatten(1)[:, :2]

    assert not leaves_range(Session.of(Refuses(), Runtime()), Inputs.of(images(1).abs()))
