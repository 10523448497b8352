"""What every registered method must do on every kind of model that users bring."""

from __future__ import annotations

import copy
import dataclasses
import gc
from collections.abc import Callable, Iterator, Sequence
from functools import cache

import pytest
import torch
from torch import Tensor, nn

import pellucid
from pellucid.core import catalogue
from pellucid.core.concept import Concept
from pellucid.core.method import Method
from pellucid.core.runtime import Runtime
from pellucid.core.target import Targets
from pellucid.models.engine import Pass
from pellucid.models.session.session import Session
from pellucid.run.explainer import Explainer
from tests.memory import resident
from tests.networks import TinyCNN, TinyViT, Wrapped, images, seeded

METHODS = pellucid.available_methods()


TARGET = 3
FEW = {"masks": 40, "cells": 4, "samples": 2, "steps": 3, "window": 8, "stride": 8}
"""Options that reduce the number of passes of methods with many."""

PERTURBING = {"rise", "occlusion", "scorecam", "ablationcam"}
OF_THE_GRADIENT = {"saliency", "smoothgrad", "smoothgrad_squared", "vargrad", "guided_backprop"}
"""Maps of the gradient alone: of a network of ReLUs it is constant within each linear piece."""

WRAPPERS = [name for name in METHODS if "method" in catalogue.options(catalogue.find(name))]
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


def shown(one: object) -> str:
    return getattr(one, "__name__", str(one))


def paired(argument: str, ways: Sequence[object]) -> pytest.MarkDecorator:
    """Cases with every pair of a method, a kind of network and a way, but not with every three of them."""
    found = [
        (name, kinds(name)[(index + number) % len(kinds(name))], way)
        for index, name in enumerate(METHODS)
        for number, way in enumerate(ways)
    ]
    return pytest.mark.parametrize(
        ("name", "kind", argument), found, ids=lambda one: getattr(one, "__name__", str(one))
    )


every = pytest.mark.parametrize(("name", "kind", "rank"), list(cases()), ids=str)
every_rank = pytest.mark.parametrize(("name", "kind", "rank"), list(cases((2, 3))), ids=str)


def explained(model: nn.Module, name: str, batch: Tensor, **more: object) -> pellucid.Explanation:
    return pellucid.explain(model, batch, method=few(name), **{"targets": TARGET, **more})


@cache
def network(kind: type[nn.Module], rank: int = 2) -> nn.Module:
    """A network for tests that leave it as it is: what is found of a model, such as its layer, is found once."""
    return seeded(kind, rank).eval()


@cache
def plain(
    name: str, kind: type[nn.Module], rank: int = 2, count: int = 2, target: object = TARGET
) -> pellucid.Explanation:
    """What other explanations are compared with."""
    return explained(network(kind, rank), name, images(count, rank), targets=target)


def assert_same(one: pellucid.Explanation, other: pellucid.Explanation, atol: float = 1e-5) -> None:
    torch.testing.assert_close(one.heatmaps, other.heatmaps, rtol=0, atol=atol)
    torch.testing.assert_close(one.logits, other.logits, rtol=1e-4, atol=atol)


@every_rank
def test_maps_have_the_inputs_size_and_show_something(name: str, kind: type[nn.Module], rank: int) -> None:
    count = 1 if rank == 3 else 3
    model, batch = network(kind, rank), images(count, rank)
    found = explained(model, name, batch)
    assert found.heatmaps.shape == (count, 1, *batch.shape[2:])
    assert found.heatmaps.dtype == found.attributions.dtype == found.logits.dtype == torch.float32
    assert found.targets.tolist() == [[TARGET]] * count
    assert not found.degenerate.any(), found.why_degenerate
    assert found.heatmaps.amin() == 0
    torch.testing.assert_close(found.heatmaps.flatten(2).amax(-1), torch.ones(count, 1))
    with torch.no_grad():
        torch.testing.assert_close(found.logits, model(batch))


@pytest.mark.parametrize("name", METHODS)
def test_a_method_states_whether_its_maps_speak_against_a_class(name: str) -> None:
    """Measured: class-specific maps with negative values. What does not depend on the class is not against one."""
    method = few(name)
    layers = {TinyCNN: ["features.2"], TinyViT: ["blocks.1.norm1"]} if method.uses_layers else {}
    lowest = min(
        float(explained(network(kind), name, images(2), targets="all", layers=layers.get(kind)).attributions.min())
        for kind in kinds(name)
    )
    assert method.signed == (method.class_specific and lowest < 0)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_states_what_dicom_calls_its_maps(name: str) -> None:
    """The definitions of CID 217: by a layer's channels, weighted by gradients or not; by gradients of the image."""
    method = few(name)
    expected = {
        Concept.CLASS_ACTIVATION: method.uses_layers and not method.uses_gradients and method.class_specific,
        Concept.GRADIENT_WEIGHTED_CLASS_ACTIVATION: method.uses_layers and method.uses_gradients,
        Concept.SALIENCY: not method.uses_layers and method.uses_gradients and not method.uses_attention,
        None: method.uses_attention or not method.uses_gradients or name == "guided_gradcam",
    }
    assert expected[method.concept]


@pytest.mark.parametrize("inner", ["hirescam", "saliency", "occlusion"])
@pytest.mark.parametrize("name", WRAPPERS)
def test_a_wrappers_maps_are_called_as_those_of_what_it_wraps(name: str, inner: str) -> None:
    wrapped = catalogue.find(inner)()
    assert catalogue.find(name)(method=wrapped).concept == wrapped.concept


@pytest.mark.parametrize("inner", ["hirescam", "gradcam"])
@pytest.mark.parametrize("name", WRAPPERS)
def test_a_wrapper_states_the_sign_of_what_it_wraps(name: str, inner: str) -> None:
    method = dataclasses.replace(few(name), method=few(inner))
    found = pellucid.explain(network(TinyCNN), images(2), method, "all", layers=["features.2"])
    assert method.signed == bool(found.attributions.min() < 0) == found.provenance["signed"]


@every_rank
def test_batch_equals_singles(name: str, kind: type[nn.Module], rank: int) -> None:
    batch = images(3, rank)
    whole = plain(name, kind, rank, 3)
    for index in range(3):
        single = explained(network(kind, rank), name, batch[index : index + 1])
        torch.testing.assert_close(whole.heatmaps[index], single.heatmaps[0], rtol=0, atol=tolerance(name))
        torch.testing.assert_close(whole.attributions[index], single.attributions[0], rtol=1e-4, atol=1e-6)


@paired("batch_size", [1, 2])
def test_any_batch_size_gives_the_same(name: str, kind: type[nn.Module], batch_size: int) -> None:
    runtime = Runtime(batch_size=batch_size)
    found = explained(network(kind), name, images(3), targets="all", runtime=runtime)
    assert_same(plain(name, kind, count=3, target="all"), found, atol=tolerance(name))


@every
def test_classes_at_once_equal_classes_one_by_one(
    name: str, kind: type[nn.Module], rank: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, batch, whole = network(kind, rank), images(2, rank), plain(name, kind, rank, target="all")
    assert whole.heatmaps.shape[1] == 4
    for index in range(4):
        one = explained(model, name, batch, targets=index)
        torch.testing.assert_close(whole.heatmaps[:, index], one.heatmaps[:, 0], rtol=0, atol=tolerance(name))
    monkeypatch.setattr("pellucid.run.batching._MAPS_AN_IMAGE", 0)  # a class a run
    assert_same(whole, explained(model, name, batch, targets="all"), atol=tolerance(name))


def frozen(model: nn.Module) -> nn.Module:
    return model.requires_grad_(False)


def no_grad_inside(model: nn.Module) -> nn.Module:
    model.forward = torch.no_grad()(model.forward)
    return model


def in_training(model: nn.Module) -> nn.Module:
    return model.train()


def compiled(model: nn.Module) -> nn.Module:
    return torch.compile(model, backend="eager")


def answering_a_dict(model: nn.Module) -> nn.Module:
    model.register_forward_hook(lambda _m, _i, out: {"features": out[:, :, None], "logits": out})
    return model


def answering_a_tuple(model: nn.Module) -> nn.Module:
    model.register_forward_hook(lambda _m, _i, out: (out, None))
    return model


BROUGHT = [
    frozen,
    no_grad_inside,
    in_training,
    Wrapped,
    nn.DataParallel,
    compiled,
    answering_a_dict,
    answering_a_tuple,
]
"""How users bring a model."""


@cache
def brought(how: Callable[[nn.Module], nn.Module], kind: type[nn.Module]) -> nn.Module:
    return how(seeded(kind).eval())


@paired("how", BROUGHT)
def test_the_map_is_the_same_however_a_model_is_brought(
    name: str, kind: type[nn.Module], how: Callable[[nn.Module], nn.Module]
) -> None:
    model = brought(how, kind)
    training = [module.training for module in model.modules()]
    found = explained(model, name, images(2))
    assert_same(plain(name, kind), found, atol=tolerance(name))
    assert [module.training for module in model.modules()] == training


def under_no_grad(model: nn.Module, batch: Tensor, name: str) -> pellucid.Explanation:
    with torch.no_grad():
        return explained(model, name, batch)


def under_inference_mode(model: nn.Module, batch: Tensor, name: str) -> pellucid.Explanation:
    with torch.inference_mode():
        return explained(model, name, batch.clone())


def with_inference_parameters(model: nn.Module, batch: Tensor, name: str) -> pellucid.Explanation:
    with torch.inference_mode():
        return explained(copied_in_inference_mode(model), name, batch.clone())


@cache
def copied_in_inference_mode(model: nn.Module) -> nn.Module:
    return copy.deepcopy(model)


def images_that_need_gradients(model: nn.Module, batch: Tensor, name: str) -> pellucid.Explanation:
    batch = batch.clone().requires_grad_()
    found = explained(model, name, batch)
    assert batch.grad is None
    assert not found.heatmaps.requires_grad
    return found


def as_mapping(model: nn.Module, batch: Tensor, name: str) -> pellucid.Explanation:
    return explained(model, name, {"x": batch})


CALLED = [under_no_grad, under_inference_mode, with_inference_parameters, images_that_need_gradients, as_mapping]
"""How users call for an explanation."""


@cache
def called(how: Callable[..., pellucid.Explanation], kind: type[nn.Module]) -> nn.Module:
    """A model of which all that is found is found in such a call."""
    return seeded(kind).eval()


@paired("how", CALLED)
def test_the_map_is_the_same_however_it_is_called_for(
    name: str, kind: type[nn.Module], how: Callable[..., pellucid.Explanation]
) -> None:
    found = how(called(how, kind), images(2), name)
    assert_same(plain(name, kind), found, atol=tolerance(name))


class NoGradBackbone(TinyCNN):
    """Only the features run under no_grad: the first pass's graph ends there."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            features = self.features(x)
        return self.fc(features.flatten(2).mean(-1))


@pytest.mark.parametrize("name", [name for name in METHODS if few(name).uses_layers])
def test_no_grad_around_the_features_only(name: str) -> None:
    expected, found = (
        explained(network(kind), name, images(2), layers=["features"]) for kind in (TinyCNN, NoGradBackbone)
    )
    assert_same(expected, found, atol=tolerance(name))


@cache
def rounded(kind: type[nn.Module], dtype: torch.dtype) -> nn.Module:
    return seeded(kind).to(dtype)


@paired("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_close(name: str, kind: type[nn.Module], dtype: torch.dtype) -> None:
    batch = images(2)
    # At one layer: of an untrained network, rounding may decide which layer has enough of the score.
    options = {"layers": ["blocks.1.norm1"]} if kind is TinyViT and few(name).uses_layers else {}
    exact = explained(network(kind), name, batch, **options)
    half = explained(rounded(kind, dtype), name, batch, **options)
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


@cache
def half_trained(kind: type[nn.Module], rank: int = 2) -> nn.Module:
    """A model of which some parameters are frozen, and a norm keeps its statistics."""
    model = seeded(kind, rank).train()
    next(model.parameters()).requires_grad_(False)
    model.get_submodule("norm" if kind is TinyViT else "features.3").eval()
    return model


@every
def test_the_model_comes_back_as_it_was(name: str, kind: type[nn.Module], rank: int) -> None:
    model, batch = half_trained(kind, rank), images(2, rank)
    before, version, random = state(model), batch._version, torch.get_rng_state()
    explained(model, name, batch)
    assert state(model) == before
    assert batch._version == version
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.is_grad_enabled()


class FailingError(Exception):
    """The error that a user's model raises."""


def failing(model: nn.Module, after: int, explain: Callable[[], pellucid.Explanation]) -> None:
    """Explain a model again and again whose last layer fails after so many passes; the model is left as it was."""
    last, calls = model.get_submodule("head" if isinstance(model, TinyViT) else "fc"), []

    def fail(_module: nn.Module, _inputs: object) -> None:
        calls.append(1)
        if len(calls) > after:
            raise FailingError

    handle = last.register_forward_pre_hook(fail)
    before, random = state(model), torch.get_rng_state()
    try:
        for _ in range(3):
            try:
                explain()
            except FailingError:
                break
        else:
            pytest.fail("the model's own error was swallowed")
        assert state(model) == before
        assert torch.equal(torch.get_rng_state(), random)
        assert torch.is_grad_enabled()
    finally:
        handle.remove()
    assert not explain().degenerate.any()


@paired("after", [0, 1, 2])
def test_a_failing_model_is_left_as_it_was(name: str, kind: type[nn.Module], after: int) -> None:
    """In one of a method's own passes: all that is found of the model was found before."""
    model, batch = half_trained(kind), images(2)
    explained(model, name, batch)
    failing(model, after, lambda: explained(model, name, batch))


@pytest.mark.parametrize("after", range(0, 10, 2))
@pytest.mark.parametrize(("name", "kind"), [("gradcam", TinyCNN), ("gradcam", TinyViT), ("legrad", TinyViT)], ids=str)
def test_a_model_that_fails_before_it_is_known_is_left_as_it_was(name: str, kind: type[nn.Module], after: int) -> None:
    """In the passes in which its layers and its attention are found."""
    model, batch = seeded(kind).train(), images(2)
    failing(model, after, lambda: explained(model, name, batch))


def often(name: str, kind: type[nn.Module], rank: int) -> Callable[[int], None]:
    """What explains a model so many times, a third of them in vain, and leaves it as it was."""
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

    def calls(times: int) -> None:
        before = state(model)
        for index in range(times):
            call(index)
        assert state(model) == before
        gc.collect()

    return calls


def alive() -> tuple[int, int]:
    """How many objects the collector knows, and how many of them are tensors; frozen ones do not count."""
    found = gc.get_objects()
    return len(found), sum(type(item) in (Tensor, nn.Parameter) for item in found)


@paired("rank", [2])
def test_nothing_grows_over_30_calls_of_which_a_third_fail(name: str, kind: type[nn.Module], rank: int) -> None:
    gc.freeze()  # counting all that other tests left takes longer than the calls
    try:
        calls = often(name, kind, rank)
        calls(9)
        objects, tensors = alive()
        calls(30)
        assert alive()[1] == tensors
        assert alive()[0] < objects + 10
    finally:
        gc.unfreeze()


@pytest.mark.release
@every
def test_no_memory_grows_over_500_calls_of_which_a_third_fail(name: str, kind: type[nn.Module], rank: int) -> None:
    calls = often(name, kind, rank)
    calls(20)
    memory = resident()
    calls(500)
    assert resident() - memory < 16 * 2**20


@pytest.mark.parametrize("name", METHODS)
def test_a_nan_image_is_no_error(name: str) -> None:
    batch = images(2)
    batch[0, :, :8, :8] = float("nan")
    found = explained(network(kinds(name)[0]), name, batch)
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
