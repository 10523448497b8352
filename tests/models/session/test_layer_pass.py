"""One pass gives the outputs of layers, and the scores' gradients there."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import pellucid
from pellucid.errors import GradientError
from tests.networks import TinyCNN, images, seeded


def test_of_a_layer_that_runs_twice_the_last_run_is_explained() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, 6, 3, padding=1)
            self.again = nn.Conv2d(6, 6, 3, padding=1)
            self.fc = nn.Linear(6, 4)

        def forward(self, x: Tensor) -> Tensor:
            x = self.again(torch.tanh(self.again(self.stem(x))))
            return self.fc(x.mean((2, 3)))

    model, batch = seeded(Twice).eval(), images(1, side=8)
    found = pellucid.explain(model, batch, method="hirescam", layers=["again"], targets=0)
    with torch.no_grad():
        last = model.again(torch.tanh(model.again(model.stem(batch))))
    expected = torch.einsum("c,bchw->bhw", model.fc.weight[0].detach(), last) / 64
    torch.testing.assert_close(found.attributions[:, 0], expected)
    assert pellucid.recommended_layers(model, (8, 8)) == ["stem"]


class Checkpointed(TinyCNN):
    """Runs its features under gradient checkpointing."""

    reentrant = True

    def forward(self, x: Tensor) -> Tensor:
        features = checkpoint(self.features, x.requires_grad_(torch.is_grad_enabled()), use_reentrant=self.reentrant)
        return self.fc(features.flatten(2).mean(-1))


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")  # torch's, of the pass without gradients
def test_a_reentrant_checkpoint_around_the_layer_is_an_error_that_says_so() -> None:
    with pytest.raises(GradientError, match="checkpoint"):
        pellucid.explain(seeded(Checkpointed), images(1), layers=["features.3"])


def test_a_detached_layer_is_an_error_that_says_so() -> None:
    model = seeded(TinyCNN)
    model.dropout.register_forward_hook(lambda _m, _i, out: out.detach())
    with pytest.raises(GradientError, match="detach"):
        pellucid.explain(model, images(1), layers=["features"])


def test_a_layer_that_does_not_run_is_an_error() -> None:
    model = seeded(TinyCNN)
    model.spare = nn.Conv2d(3, 3, 1)
    with pytest.raises(GradientError, match="'spare' was asked for; the model does not run it"):
        pellucid.explain(model, images(1), layers=["spare"])


def test_a_layer_without_a_tensor_is_an_error() -> None:
    class Silent(nn.Module):
        def forward(self, x: Tensor) -> str:
            return "nothing"

    model = seeded(TinyCNN)
    model.silent = Silent()
    model.register_forward_pre_hook(lambda m, args: m.silent(args[0]) and None)
    with pytest.raises(GradientError, match="gives no tensor"):
        pellucid.explain(model, images(1), layers=["silent"])
