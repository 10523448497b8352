"""What every registered method must do on every kind of model that users bring."""

from __future__ import annotations

import copy
import dataclasses
import gc
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

import pellucid
from pellucid.core import catalogue
from pellucid.core.method import Method
from pellucid.core.runtime import Runtime
from pellucid.core.target import Targets
from pellucid.models.engine import Pass
from pellucid.models.session.session import Session
from pellucid.run.explain import Explainer
from tests.memory import resident
from tests.networks import TinyCNN, TinyViT, Wrapped, images, seeded

METHODS = pellucid.available_methods()


TARGET = 3
FEW = {"masks": 40, "cells": 4, "samples": 2, "steps": 3, "window": 8, "stride": 8}
"""Options that reduce the number of passes of methods with many."""

PERTURBING = {"rise", "occlusion", "scorecam", "ablationcam"}
OF_THE_GRADIENT = {"saliency", "smoothgrad", "smoothgrad_squared", "vargrad", "guided_backprop"}
"""Maps of the gradient alone: of a network of ReLUs it is constant within each linear piece."""

READS_ATTENTION = {name for name in METHODS if catalogue.find(name).uses_attention}


def few(name: str) -> Method:
    """A method that does not take long."""
    known = catalogue.options(catalogue.find(name))
    return catalogue.find(name)(**{key: value for key, value in FEW.items() if key in known})


def tolerance(name: str) -> float:
    """The tolerance between heatmaps that should be equal: a score's drop is a difference of near equal numbers."""
    return 3e-4 if name in PERTURBING else 1e-5


def kinds(name: str) -> list[type[nn.Module]]:
    return [TinyViT] if name in READS_ATTENTION else [TinyCNN, TinyViT]


def cases(ranks: tuple[int, ...] = (2,)) -> Iterator[tuple[str, type[nn.Module], int]]:
    for name in METHODS:
        for kind in kinds(name):
            for rank in ranks:
                yield name, kind, rank


every = pytest.mark.parametrize(("name", "kind", "rank"), list(cases()), ids=str)
every_rank = pytest.mark.parametrize(("name", "kind", "rank"), list(cases((2, 3))), ids=str)


def explained(model: nn.Module, name: str, batch: Tensor, **more: object) -> pellucid.Explanation:
    return pellucid.explain(model, batch, method=few(name), **{"targets": TARGET, **more})


def assert_same(one: pellucid.Explanation, other: pellucid.Explanation, atol: float = 1e-5) -> None:
    torch.testing.assert_close(one.heatmaps, other.heatmaps, rtol=0, atol=atol)
    torch.testing.assert_close(one.logits, other.logits, rtol=1e-4, atol=atol)


@every_rank
@pytest.mark.parametrize("count", [1, 3])
def test_maps_have_the_inputs_size_and_show_something(name: str, kind: type[nn.Module], rank: int, count: int) -> None:
    model, batch = seeded(kind, rank), images(count, rank)
    found = explained(model, name, batch)
    assert found.heatmaps.shape == (count, 1, *batch.shape[2:])
    assert found.heatmaps.dtype == found.attributions.dtype == found.logits.dtype == torch.float32
    assert found.targets.tolist() == [[TARGET]] * count
    assert not found.degenerate.any(), found.why_degenerate
    assert found.heatmaps.amin() == 0
    torch.testing.assert_close(found.heatmaps.flatten(2).amax(-1), torch.ones(count, 1))
    with torch.no_grad():
        torch.testing.assert_close(found.logits, model.eval()(batch))


@pytest.mark.parametrize("name", METHODS)
def test_a_method_states_whether_its_maps_speak_against_a_class(name: str) -> None:
    """Measured: class-specific maps with negative values. What does not depend on the class is not against one."""
    method = few(name)
    layers = {TinyCNN: ["features.2"], TinyViT: ["blocks.1.norm1"]} if method.uses_layers else {}
    lowest = min(
        float(explained(seeded(kind), name, images(2), targets="all", layers=layers.get(kind)).attributions.min())
        for kind in kinds(name)
    )
    assert method.signed == (method.class_specific and lowest < 0)


@pytest.mark.parametrize("inner", ["hirescam", "gradcam"])
@pytest.mark.parametrize("name", [name for name in METHODS if "method" in catalogue.options(catalogue.find(name))])
def test_a_wrapper_states_the_sign_of_what_it_wraps(name: str, inner: str) -> None:
    method = dataclasses.replace(few(name), method=few(inner))
    found = pellucid.explain(seeded(TinyCNN), images(2), method, "all", layers=["features.2"])
    assert method.signed == bool(found.attributions.min() < 0) == found.provenance["signed"]


@every_rank
def test_batch_equals_singles(name: str, kind: type[nn.Module], rank: int) -> None:
    model, batch = seeded(kind, rank), images(3, rank)
    whole = explained(model, name, batch)
    for index in range(3):
        single = explained(model, name, batch[index : index + 1])
        torch.testing.assert_close(whole.heatmaps[index], single.heatmaps[0], rtol=0, atol=tolerance(name))
        torch.testing.assert_close(whole.attributions[index], single.attributions[0], rtol=1e-4, atol=1e-6)


@every
@pytest.mark.parametrize("batch_size", [1, 2])
def test_any_batch_size_gives_the_same(name: str, kind: type[nn.Module], rank: int, batch_size: int) -> None:
    model, batch = seeded(kind, rank), images(3, rank)
    whole = explained(model, name, batch, targets="all")
    found = explained(model, name, batch, targets="all", runtime=Runtime(batch_size=batch_size))
    assert_same(whole, found, atol=tolerance(name))


@every
def test_classes_at_once_equal_classes_one_by_one(
    name: str, kind: type[nn.Module], rank: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, batch = seeded(kind, rank), images(2, rank)
    whole = explained(model, name, batch, targets="all")
    assert whole.heatmaps.shape[1] == 4
    for index in range(4):
        one = explained(model, name, batch, targets=index)
        torch.testing.assert_close(whole.heatmaps[:, index], one.heatmaps[:, 0], rtol=0, atol=tolerance(name))
    monkeypatch.setattr("pellucid.run.explain._MAPS_AN_IMAGE", 0)  # a class a run
    assert_same(whole, explained(model, name, batch, targets="all"), atol=tolerance(name))


def frozen(model: nn.Module, batch: Tensor, name: str) -> pellucid.Explanation:
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    return explained(model, name, batch)


def under_no_grad(model: nn.Module, batch: Tensor, name: str) -> pellucid.Explanation:
    with torch.no_grad():
        return explained(model, name, batch)


def under_inference_mode(model: nn.Module, batch: Tensor, name: str) -> pellucid.Explanation:
    with torch.inference_mode():
        return explained(model, name, batch.clone())


def with_inference_parameters(model: nn.Module, batch: Tensor, name: str) -> pellucid.Explanation:
    with torch.inference_mode():
        return explained(copy.deepcopy(model), name, batch.clone())


def no_grad_inside(model: nn.Module, batch: Tensor, name: str) -> pellucid.Explanation:
    plain = type(model).forward
    model.forward = torch.no_grad()(plain.__get__(model))
    return explained(model, name, batch)


def in_training(model: nn.Module, batch: Tensor, name: str) -> pellucid.Explanation:
    model.train()
    found = explained(model, name, batch)
    assert all(module.training for module in model.modules())
    return found


def wrapped(model: nn.Module, batch: Tensor, name: str) -> pellucid.Explanation:
    return explained(Wrapped(model), name, batch)


def data_parallel(model: nn.Module, batch: Tensor, name: str) -> pellucid.Explanation:
    return explained(nn.DataParallel(model), name, batch)


def compiled(model: nn.Module, batch: Tensor, name: str) -> pellucid.Explanation:
    return explained(torch.compile(model, backend="eager"), name, batch)


def images_that_need_gradients(model: nn.Module, batch: Tensor, name: str) -> pellucid.Explanation:
    batch = batch.clone().requires_grad_()
    found = explained(model, name, batch)
    assert batch.grad is None
    assert not found.heatmaps.requires_grad
    return found


def as_mapping(model: nn.Module, batch: Tensor, name: str) -> pellucid.Explanation:
    return explained(model, name, {"x": batch})


def answering_a_dict(model: nn.Module, batch: Tensor, name: str) -> pellucid.Explanation:
    model.register_forward_hook(lambda _m, _i, out: {"features": out[:, :, None], "logits": out})
    return explained(model, name, batch)


def answering_a_tuple(model: nn.Module, batch: Tensor, name: str) -> pellucid.Explanation:
    model.register_forward_hook(lambda _m, _i, out: (out, None))
    return explained(model, name, batch)


SITUATIONS = [
    frozen,
    under_no_grad,
    under_inference_mode,
    with_inference_parameters,
    no_grad_inside,
    in_training,
    wrapped,
    data_parallel,
    compiled,
    images_that_need_gradients,
    as_mapping,
    answering_a_dict,
    answering_a_tuple,
]


@every
@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda situation: situation.__name__)
def test_the_map_is_the_same(
    name: str, kind: type[nn.Module], rank: int, situation: Callable[..., pellucid.Explanation]
) -> None:
    batch = images(2, rank)
    expected = explained(seeded(kind, rank).eval(), name, batch)
    assert_same(expected, situation(seeded(kind, rank).eval(), batch, name), atol=tolerance(name))


class NoGradBackbone(TinyCNN):
    """Only the features run under no_grad: the first pass's graph ends there."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            features = self.features(x)
        return self.fc(features.flatten(2).mean(-1))


@pytest.mark.parametrize("name", [name for name in METHODS if few(name).uses_layers])
def test_no_grad_around_the_features_only(name: str) -> None:
    batch = images(2)
    plain = explained(seeded(TinyCNN), name, batch, layers=["features"])
    assert_same(plain, explained(seeded(NoGradBackbone), name, batch, layers=["features"]), atol=tolerance(name))


@every
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_close(name: str, kind: type[nn.Module], rank: int, dtype: torch.dtype) -> None:
    batch = images(2, rank)
    # At one layer: of an untrained network, rounding may decide which layer has enough of the score.
    options = {"layers": ["blocks.1.norm1"]} if kind is TinyViT and few(name).uses_layers else {}
    exact = explained(seeded(kind, rank), name, batch, **options)
    half = explained(seeded(kind, rank).to(dtype), name, batch, **options)
    assert half.heatmaps.dtype == torch.float32
    # A difference of near equal scores keeps few of half precision's digits.
    least = 0.9 if name in PERTURBING else 0.98
    for one, other in zip(exact.heatmaps, half.heatmaps, strict=True):
        assert torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1] > least


def state(model: nn.Module) -> dict[str, object]:
    """Every state of a model that an explanation could change."""
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks", "_buffers", "_modules")
    return {
        "hooks": [len(getattr(module, kind)) for module in model.modules() for kind in hooks],
        "training": [module.training for module in model.modules()],
        "grad": [parameter.grad is None for parameter in model.parameters()],
        "requires_grad": [parameter.requires_grad for parameter in model.parameters()],
        "versions": [tensor._version for tensor in (*model.parameters(), *model.buffers())],
        "attributes": [sorted(vars(module)) for module in model.modules()],
    }


@every
def test_the_model_comes_back_as_it_was(name: str, kind: type[nn.Module], rank: int) -> None:
    model, batch = seeded(kind, rank).train(), images(2, rank)
    next(model.parameters()).requires_grad_(False)
    model.get_submodule("norm" if kind is TinyViT else "features.3").eval()
    before, version, random = state(model), batch._version, torch.get_rng_state()
    explained(model, name, batch)
    assert state(model) == before
    assert batch._version == version
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.is_grad_enabled()


class FailingError(Exception):
    """The error that a user's model raises."""


@every
@pytest.mark.parametrize("after", [0, 1, 2], ids=["in the first pass", "in the second", "in the third"])
def test_a_failing_model_is_left_as_it_was(name: str, kind: type[nn.Module], rank: int, after: int) -> None:
    model, batch = seeded(kind, rank).train(), images(2, rank)
    last = model.get_submodule("head" if kind is TinyViT else "fc")
    calls = []

    def fail(_module: nn.Module, _inputs: object) -> None:
        calls.append(1)
        if len(calls) > after:
            raise FailingError

    handle = last.register_forward_pre_hook(fail)
    before, random = state(model), torch.get_rng_state()
    for _ in range(3):
        try:
            explained(model, name, batch)
        except FailingError:
            break
    else:
        pytest.fail("the model's own error was swallowed")
    assert state(model) == before
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.is_grad_enabled()
    handle.remove()
    assert not explained(model, name, batch).degenerate.any()


@every
def test_nothing_grows_over_500_calls_of_which_a_third_fail(name: str, kind: type[nn.Module], rank: int) -> None:
    model, batch = seeded(kind, rank), images(1, rank)
    explainer = Explainer(model, few(name))

    def call(index: int) -> None:
        target = 99 if index % 3 == 0 else TARGET
        if index % 3 == 0 and not few(name).class_specific:
            target = "no such class"
        try:
            explainer(batch, targets=target)
        except pellucid.PellucidError:
            assert index % 3 == 0
        else:
            assert index % 3 != 0

    for index in range(20):
        call(index)
    gc.collect()
    before, tensors, memory = state(model), live_tensors(), resident()
    for index in range(500):
        call(index)
    gc.collect()
    assert state(model) == before
    assert live_tensors() == tensors
    assert resident() - memory < 16 * 2**20


def live_tensors() -> int:
    return sum(type(item) in (Tensor, nn.Parameter) for item in gc.get_objects())


@pytest.mark.parametrize("name", METHODS)
def test_a_nan_image_is_no_error(name: str) -> None:
    model, batch = seeded(kinds(name)[0]), images(2)
    batch[0, :, :8, :8] = float("nan")
    found = explained(model, name, batch)
    assert found.degenerate.tolist() == [[True], [False]]
    assert found.why_degenerate == (("not finite",), (None,))
    assert found.heatmaps.isfinite().all()
    assert not found.heatmaps[0].any()


# Torch's third derivative of a layer norm is wrong, and Shapley-CAM's map holds the second one already.
@pytest.mark.parametrize(("name", "kind", "rank"), [c for c in cases() if c[:2] != ("shapleycam", TinyViT)], ids=str)
def test_second_derivatives_equal_finite_differences(name: str, kind: type[nn.Module], rank: int) -> None:
    """The derivative of the map with respect to the image, which attacks on explanations use."""
    model, batch = seeded(kind, rank).double().eval(), images(1, rank).double()
    layers = ["features.2" if kind is TinyCNN else "blocks.1.norm1"]

    def total(image: Tensor) -> Tensor:
        with torch.enable_grad():
            probe = Pass.of(Session.of(model, Runtime()), image, layers).differentiable()
            values = few(name).attribute(probe, Targets(TARGET)).values
            pattern = torch.linspace(0.5, 1.5, values[0, 0].numel(), dtype=torch.float64).view_as(values[0, 0])
            return (values * pattern).sum()

    image = batch.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(total(image), image, allow_unused=True, materialize_grads=True)
    if catalogue.find(name).__module__.startswith("pellucid."):  # of another package's method, it is not known
        assert (gradient.abs().max() > 0) != (name in OF_THE_GRADIENT and kind is TinyCNN)
    direction = torch.randn(batch.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    step = 1e-6
    numeric = (total(batch + step * direction) - total(batch - step * direction)) / (2 * step)
    torch.testing.assert_close((gradient * direction).sum(), numeric.detach(), rtol=1e-4, atol=1e-8)
