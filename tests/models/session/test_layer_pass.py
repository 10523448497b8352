"""One pass gives the outputs of layers, and the scores' gradients there."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import pellucid
from pellucid.core.inputs import Inputs
from pellucid.core.runtime import Runtime
from pellucid.core.target import Targets
from pellucid.errors import GradientError
from pellucid.models.session.layer_pass import arriving, gradients_at, outputs_at
from pellucid.models.session.session import Session
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


LAYERS = ["features.3", "features"]


def session(model: nn.Module) -> Session:
    return Session.of(model.eval(), Runtime())


def test_outputs_and_logits_are_those_of_the_parts() -> None:
    model, batch = seeded(TinyCNN).eval(), images(2)
    logits, outputs = outputs_at(session(model), Inputs.of(batch), LAYERS, graph=False)
    with torch.no_grad():
        torch.testing.assert_close(outputs["features.3"], model.features[:4](batch))
        torch.testing.assert_close(outputs["features"], model.features(batch))
        torch.testing.assert_close(logits, model(batch))
    assert not logits.requires_grad


def test_gradients_are_those_of_the_rest_of_the_network() -> None:
    model, batch, targets = seeded(TinyCNN).eval(), Inputs.of(images(2)), Targets(torch.tensor([[0, 2], [3, 1]]))
    logits, outputs = outputs_at(session(model), batch, LAYERS, graph=True)
    found = gradients_at(targets, logits, LAYERS, [outputs[layer] for layer in LAYERS], graph=False)
    leaf = model.features[:4](batch.images).detach().requires_grad_()
    scores = model.fc(leaf.relu().flatten(2).mean(-1))
    for index, classes in enumerate([(0, 3), (2, 1)]):
        (expected,) = torch.autograd.grad(scores[[0, 1], classes].sum(), leaf, retain_graph=True)
        torch.testing.assert_close(found[0][index], expected)
        torch.testing.assert_close(
            found[1][index, 0], (model.fc.weight[classes[0]] / 64)[:, None, None].expand(12, 8, 8).detach()
        )


def test_where_no_graph_leads_to_a_layer_there_are_no_gradients() -> None:
    logits, outputs = outputs_at(session(seeded(TinyCNN)), Inputs.of(images(1)), ["features"], graph=True)
    assert gradients_at(Targets(0), logits.detach(), ["features"], [outputs["features"]], graph=False) is None
    assert gradients_at(Targets(0), logits, ["features"], [torch.ones(1, requires_grad=True)], graph=False) is None


def test_a_no_grad_that_ends_after_the_layer_is_recorded_whole() -> None:
    class Ending(TinyCNN):
        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                x = self.features[:3](x)
            return self.fc(self.features[3:](x).flatten(2).mean(-1))

    batch = Inputs.of(images(2))
    for layer in ("features.2", "features.3"):
        _, (expected,) = arriving(session(seeded(TinyCNN)), batch, [layer], Targets(1))
        logits, (found,) = arriving(session(seeded(Ending)), batch, [layer], Targets(1))
        torch.testing.assert_close(found, expected)
        assert logits.shape == (2, 4)


def test_layers_without_a_gradient_among_others_have_none() -> None:
    class Beside(TinyCNN):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + 0 * self.unused(x).detach().mean()

        def __init__(self) -> None:
            super().__init__()
            self.unused = nn.Conv2d(3, 3, 1)

    own, batch = session(seeded(Beside)), Inputs.of(images(2))
    with torch.no_grad():
        _, (first, none, last) = arriving(own, batch, ["features.2", "unused", "features.3"], Targets(1))
    _, (expected,) = arriving(own, batch, ["features.2"], Targets(1))
    assert none is None
    assert last is not None
    torch.testing.assert_close(first, expected)
    assert arriving(own, batch, ["unused"], Targets(1))[1] == [None]
    assert arriving(own, batch, ["unused", "unused"], Targets(1))[1] == [None, None]
