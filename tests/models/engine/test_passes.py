"""What goes through the network, and how often."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import pellucid
from pellucid.core.runtime import Runtime
from pellucid.core.target import Targets
from pellucid.errors import GradientError, LayerError
from pellucid.models.engine import Pass
from pellucid.models.session.session import Session, unwrapped
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


def test_a_layer_before_an_in_place_relu_is_not_rewritten() -> None:
    model, batch = seeded(TinyCNN).eval(), images(1)
    activations = Pass.of(Session.of(model, Runtime()), batch, ["features.3"]).activations()
    assert activations.min() < 0


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


def test_a_backward_that_cannot_be_batched_goes_class_by_class() -> None:
    class Stubborn(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x: Tensor) -> Tensor:
            return 2 * x

        @staticmethod
        def backward(ctx, gradient: Tensor) -> Tensor:
            return 2 * torch.from_numpy(gradient.numpy())  # no numpy under vmap

    model, batch = seeded(TinyCNN), images(2)
    expected = pellucid.explain(model, batch, targets="all").heatmaps
    model.dropout.register_forward_hook(lambda _m, _i, out: Stubborn.apply(out))
    torch.testing.assert_close(pellucid.explain(model, batch, targets="all").heatmaps, expected)


@pytest.mark.parametrize(
    "wrap",
    [nn.DataParallel, lambda m: torch.compile(m, backend="eager"), lambda m: nn.DataParallel(torch.compile(m))],
    ids=["DataParallel", "compile", "both"],
)
def test_wrappers_are_unwrapped_and_names_with_their_prefix_are_known(wrap) -> None:
    model = seeded(TinyCNN)
    assert unwrapped(wrap(model)) is model
    prefix = "module." if isinstance(wrap(model), nn.DataParallel) else "_orig_mod."
    found = pellucid.explain(wrap(model), images(1), layers=[prefix + "features.3"])
    torch.testing.assert_close(found.heatmaps, pellucid.explain(model, images(1), layers=["features.3"]).heatmaps)


def test_a_compiled_part_is_looked_into() -> None:
    batch = images(1)
    expected = pellucid.explain(Wrapped(seeded(TinyCNN)), batch, layers=["backbone.features"])
    model = Wrapped(torch.compile(seeded(TinyCNN), backend="eager"))
    found = pellucid.explain(model, batch, layers=["backbone._orig_mod.features"])
    torch.testing.assert_close(found.heatmaps, expected.heatmaps)


def test_an_unknown_layer_names_those_that_look_like_it() -> None:
    with pytest.raises(LayerError, match=r"'featurs\.3' was asked for.*did you mean.*features\.3"):
        pellucid.explain(seeded(TinyCNN), images(1), layers=["featurs.3"])


def test_a_layer_without_places_is_an_error() -> None:
    with pytest.raises(LayerError, match=r"'fc' was asked for; its output .* has no spatial positions"):
        pellucid.explain(seeded(TinyCNN), images(1), layers=["fc"])


def test_a_layer_that_does_not_run_is_an_error() -> None:
    model = seeded(TinyCNN)
    model.spare = nn.Conv2d(3, 3, 1)
    with pytest.raises(GradientError, match="'spare' was asked for; the model does not run it"):
        pellucid.explain(model, images(1), layers=["spare"])


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


class Pair(NamedTuple):
    first: Tensor
    second: int


@pytest.mark.parametrize(
    "answer",
    [
        lambda y: {"y": y, "more": 1},
        lambda y: OrderedDict(y=y),
        lambda y: (1, y),
        lambda y: [y, y * 2],
        lambda y: Pair(y, 3),
    ],
    ids=["dict", "OrderedDict", "tuple", "list", "named tuple"],
)
def test_a_layer_that_answers_more_than_a_tensor(answer: Callable[[Tensor], object]) -> None:
    class Part(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features = seeded(TinyCNN).features

        def forward(self, x: Tensor) -> object:
            return answer(self.features(x))

    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.part, self.fc = Part(), seeded(TinyCNN).fc

        def forward(self, x: Tensor) -> Tensor:
            found = self.part(x)
            assert type(found) is type(answer(x)), "the layer's answer keeps its kind"
            values = found.values() if isinstance(found, dict) else found
            return self.fc(next(v for v in values if isinstance(v, Tensor)).flatten(2).mean(-1))

    found = pellucid.explain(Whole(), images(1), layers=["part"], targets=0)
    expected = pellucid.explain(seeded(TinyCNN), images(1), layers=["features"], targets=0)
    torch.testing.assert_close(found.attributions, expected.attributions)


def test_a_layer_without_a_tensor_is_an_error() -> None:
    class Silent(nn.Module):
        def forward(self, x: Tensor) -> str:
            return "nothing"

    model = seeded(TinyCNN)
    model.silent = Silent()
    model.register_forward_pre_hook(lambda m, args: m.silent(args[0]) and None)
    with pytest.raises(GradientError, match="gives no tensor"):
        pellucid.explain(model, images(1), layers=["silent"])
