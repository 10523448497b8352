"""Every method equals its naive replica, in float64."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

import pytest
import torch
from timm.layers import BatchNormAct2d
from torch import Tensor, nn

import pellucid
from pellucid.core import catalogue
from pellucid.core.attribution import Attribution
from pellucid.core.catalogue import register_method
from pellucid.core.method import Method
from pellucid.core.runtime import Runtime
from tests.networks import TinyCNN, TinyViT, images, seeded
from tests.replicas.naive import REPLICAS, SEED, target_score
from tests.replicas.naive_cam import CAMS
from tests.replicas.naive_gradient import full_gradients

LAYER = {TinyCNN: "features.3", TinyViT: "blocks.1.norm1"}
SIDES = {
    (TinyCNN, 2): (12, 16),
    (TinyCNN, 3): (8, 8, 12),
    (TinyViT, 2): (16, 24),
    (TinyViT, 3): (16, 8, 16),
}
PATCH = 8


def own_methods() -> list[str]:
    """The methods of this package; an installed package with methods has the replicas of its own."""
    own = f"{catalogue.PACKAGE}."
    return [name for name, cls in sorted(catalogue.registered().items()) if cls.__module__.startswith(own)]


OF_ATTENTION = {name for name in own_methods() if catalogue.find(name).uses_attention}
"""Methods that use attention, which convolutional networks have none of."""
RUNTIME = Runtime(batch_size=5, seed=SEED)
"""With a batch size so small that methods need several passes."""

NOISE = [
    {"samples": 3},
    {"samples": 2, "method": "gradcam", "noise": 0.4},
    {"samples": 1, "method": "input_x_gradient"},
]
OPTIONS: dict[str, list[dict[str, object]]] = {
    "aug_smooth": [{}, {"method": "hirescam"}, {"method": "input_x_gradient"}],
    "eigen_smooth": [{"method": name} for name in CAMS],
    "finercam": [{}, {"alpha": 0.5, "references": 2}, {"alpha": 3.0, "references": 1}, {"references": 9}],
    "integrated_gradients": [{"steps": 3}, {"steps": 7, "baseline": 0.5}, {"steps": 1, "baseline": -1.0}],
    "occlusion": [
        {"window": 4, "stride": 3},
        {"window": 5, "baseline": 0.7},
        {"window": 14},
        {"window": 4, "stride": 4},
    ],
    "rise": [{"masks": 12, "cells": 3}, {"masks": 7, "cells": 5, "keep": 0.3}, {"masks": 2, "cells": 2}],
    "rollout": [{"head_fusion": "max"}],
    "smoothgrad": NOISE,
    "smoothgrad_squared": NOISE,
    "vargrad": NOISE[:2],
}
"""Options to try, with few passes; on networks other than the first, each method's first options only."""


@cache
def network(kind: type[nn.Module], rank: int, *more: object) -> nn.Module:
    """One network for all tests, which leave it unchanged."""
    sides = SIDES[kind, rank]
    given = (rank, 4, *(more or (1,)), sides) if kind is TinyViT else (rank, 4)
    model = seeded(kind, *given).double().eval()
    model.grid = tuple(side // PATCH for side in sides)  # of a ViT's patches; unused on a CNN
    return model


def sample_images(kind: type[nn.Module], rank: int, count: int = 2) -> Tensor:
    return images(count, rank, SIDES[kind, rank]).double()


def built(name: str, options: dict[str, object]) -> Method:
    """A method with its options, among which an inner method is given by its name."""
    inner = {"method": catalogue.find(options["method"])()} if "method" in options else {}
    return catalogue.find(name)(**{**options, **inner})


def explained(
    name: str, options: dict[str, object], model: nn.Module, batch: Tensor, targets: object, layer: str
) -> pellucid.Explanation:
    made = built(name, options)
    layers = [layer] if made.uses_layers else None
    return pellucid.explain(model, batch, method=made, targets=targets, layers=layers, runtime=RUNTIME)


def assert_equal(found: Tensor, expected: Tensor) -> None:
    """Equal to a relative 1e-5, or to 1e-6 of the map's largest magnitude: maps are float32."""
    atol = 1e-6 * float(expected.abs().max())
    torch.testing.assert_close(found, expected.float(), rtol=1e-5, atol=atol)


def assert_replicated(
    name: str, options: dict[str, object], model: nn.Module, batch: Tensor, targets: Tensor, layer: str
) -> None:
    found = explained(name, options, model, batch, targets, layer).attributions
    spreads = []
    for image, row, maps in zip(batch, targets.tolist(), found, strict=True):
        for target, values in zip(row, maps, strict=True):
            expected = REPLICAS[name](model, image, target, layer, **options)
            assert_equal(values, expected)
            spreads.append(float((expected.max() - expected.min()) / expected.abs().max().clamp(min=1e-300)))
    assert max(spreads) > 0.01, "the maps are almost constant, and their equality proves nothing"


def of_cnns() -> Iterator[tuple[str, dict[str, object]]]:
    for name in own_methods():
        if name not in OF_ATTENTION:
            for options in OPTIONS.get(name, [{}]):
                yield name, options


def of_others() -> Iterator[tuple[str, type[nn.Module], int]]:
    for name in own_methods():
        for kind, rank in SIDES:
            if (kind, rank) != (TinyCNN, 2) and (name not in OF_ATTENTION or kind is TinyViT):
                yield name, kind, rank


def test_every_method_has_a_replica() -> None:
    assert set(REPLICAS) == set(own_methods())


def test_every_option_is_tried() -> None:
    for name in own_methods():
        known = set(catalogue.options(catalogue.find(name)))
        tried = {key for options in OPTIONS.get(name, []) for key in options}
        assert known <= tried | {"discard_ratio"}, name  # in a test of its own


def test_what_the_methods_use() -> None:
    """Layers, classes, gradients and attention: what a method's class says that it uses."""
    named = {name: catalogue.find(name)() for name in own_methods()}
    assert {name for name, made in named.items() if not made.uses_layers} == {
        *("fullgrad", "guided_backprop", "input_x_gradient", "integrated_gradients", "occlusion", "rise", "rollout"),
        *("saliency", "smoothgrad", "smoothgrad_squared", "vargrad"),
        *("attention", "attnlrp", "gradient_rollout", "legrad"),
    }
    assert {name for name, made in named.items() if not made.class_specific} == {"attention", "eigencam", "rollout"}
    assert {name for name, made in named.items() if not made.uses_gradients} == {
        *("ablationcam", "attention", "eigencam", "occlusion", "rise", "rollout", "scorecam"),
    }
    assert {"attention", "attnlrp", "gradient_rollout", "legrad", "rollout"} == OF_ATTENTION


def test_a_method_without_a_replica_fails() -> None:
    @register_method("unreplicated")
    @dataclass(frozen=True)
    class Unreplicated(Method):
        __module__ = f"{catalogue.PACKAGE}.unreplicated"

        def attribute(self, probe, targets) -> Attribution:
            raise AssertionError

    with catalogue.forgetting(Unreplicated), pytest.raises(AssertionError):
        test_every_method_has_a_replica()
    test_every_method_has_a_replica()


def test_a_method_of_another_package_needs_no_replica_here() -> None:
    @register_method("elsewhere")
    @dataclass(frozen=True)
    class Elsewhere(Method):
        def attribute(self, probe, targets) -> Attribution:
            raise AssertionError

    with catalogue.forgetting(Elsewhere):
        assert "elsewhere" in pellucid.available_methods()
        test_every_method_has_a_replica()
        test_what_the_methods_use()


@pytest.mark.parametrize(("name", "options"), list(of_cnns()), ids=str)
def test_equals_its_replica_with_any_options(name: str, options: dict[str, object]) -> None:
    model, batch = network(TinyCNN, 2), sample_images(TinyCNN, 2)
    assert_replicated(name, options, model, batch, torch.tensor([[1, 3], [3, 0]]), "features.3")


@pytest.mark.parametrize(("name", "kind", "rank"), list(of_others()), ids=str)
def test_equals_its_replica_on_other_networks(name: str, kind: type[nn.Module], rank: int) -> None:
    model, batch = network(kind, rank), sample_images(kind, rank, 1)
    options = OPTIONS.get(name, [{}])[0]
    assert_replicated(name, options, model, batch, torch.tensor([[0, 1, 2]]), LAYER[kind])


@pytest.mark.parametrize("layer", ["features.0", "features.4"])
@pytest.mark.parametrize("name", [*CAMS, "gradcam-elementwise", "eigencam", "eigengradcam", "guided_gradcam"])
def test_equals_its_replica_at_any_layer(name: str, layer: str) -> None:
    """A layer that an in-position layer follows, and one that works in position itself."""
    assert_replicated(name, {}, network(TinyCNN, 2), sample_images(TinyCNN, 2, 1), torch.tensor([[0, 3]]), layer)


@pytest.mark.parametrize("name", sorted(set(OPTIONS) - {"rollout"}))
def test_equals_its_replica_with_its_defaults(name: str) -> None:
    assert_replicated(name, {}, network(TinyCNN, 2), sample_images(TinyCNN, 2, 1), torch.tensor([[3]]), "features.3")


@pytest.mark.parametrize("size", [(9, 11), (18, 16)])
def test_occlusion_with_its_own_window(size: tuple[int, int]) -> None:
    """At sizes where a window of a seventh or a ninth of the shortest side would differ."""
    model, batch = network(TinyCNN, 2), images(1, side=size).double()
    assert_replicated("occlusion", {}, model, batch, torch.tensor([[1]]), "")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("ablationcam", {}),
        ("scorecam", {}),
        ("smoothgrad", {"samples": 4, "noise": 3.0}),
        ("smoothgrad_squared", {"samples": 4, "noise": 3.0}),
        ("vargrad", {"samples": 4, "noise": 3.0}),
        ("integrated_gradients", {"steps": 3, "baseline": 4.0}),
        ("occlusion", {"window": 12, "stride": 4, "baseline": 4.0}),
        ("rise", {"masks": 9, "cells": 2}),
        ("aug_smooth", {}),
    ],
)
def test_the_class_is_that_of_the_clean_image(name: str, options: dict[str, object]) -> None:
    model, batch = network(TinyCNN, 2), sample_images(TinyCNN, 2, 6)
    with torch.no_grad():
        predicted = model(batch).argmax(dim=1)
    found = explained(name, options, model, batch, "predicted", "features.3").attributions
    for image, target, values in zip(batch, predicted.tolist(), found, strict=True):
        assert_equal(values[0], REPLICAS[name](model, image, target, "features.3", **options))


def with_log_probability(logits: Tensor) -> Tensor:
    """The utility ReST of class 2, of Shapley-CAM's paper."""
    return logits[..., 2] + logits.log_softmax(dim=-1)[..., 2]


@pytest.mark.parametrize("name", sorted(set(own_methods()) - OF_ATTENTION - {"finercam"}))
def test_equals_its_replica_for_any_score(name: str) -> None:
    """The second derivative of a non-linear score is not 0, also on a network of ReLUs."""
    model, batch = network(TinyCNN, 2), sample_images(TinyCNN, 2, 1)
    options = OPTIONS.get(name, [{}])[0]
    found = explained(name, options, model, batch, with_log_probability, "features.3").attributions
    expected = REPLICAS[name](model, batch[0], with_log_probability, "features.3", **options)
    assert_equal(found[0, 0], expected)


@pytest.mark.parametrize("layer", ["features.0", "features.2", "features.4"])
def test_shapley_cam_of_a_non_linear_score_at_any_layer(layer: str) -> None:
    model, batch = network(TinyCNN, 2), sample_images(TinyCNN, 2, 1)
    found = explained("shapleycam", {}, model, batch, with_log_probability, layer).attributions
    assert_equal(found[0, 0], REPLICAS["shapleycam"](model, batch[0], with_log_probability, layer))
    plain = REPLICAS["gradcam"](model, batch[0], with_log_probability, layer)
    assert (found[0, 0] - plain).abs().max() > 1e-3 * plain.max()


def test_the_completeness_gap_of_integrated_gradients() -> None:
    model, batch = network(TinyCNN, 2), sample_images(TinyCNN, 2)
    options = {"steps": 2, "baseline": 0.5}
    found = explained("integrated_gradients", options, model, batch, [1, 3], "").checks["completeness_gap"]
    for image, target, gap in zip(batch, (1, 3), found[:, 0], strict=True):
        total = REPLICAS["integrated_gradients"](model, image, target, "", **options).sum()
        with torch.no_grad():
            rise = (model(image[None]) - model(torch.full_like(image[None], 0.5)))[0, target]
        torch.testing.assert_close(gap, (rise - total).float(), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("kind", [TinyCNN, TinyViT])
def test_the_completeness_gap_of_full_gradients(kind: type[nn.Module]) -> None:
    model, batch = network(kind, 2), sample_images(kind, 2)
    found = explained("fullgrad", {}, model, batch, [1, 3], "").checks["completeness_gap"]
    for image, target, gap in zip(batch, (1, 3), found[:, 0], strict=True):
        of_image, of_biases = full_gradients(model, image, target)
        with torch.no_grad():
            total = of_image.sum() + sum(one.sum() for one in of_biases)
            rest = target_score(model(image[None])[0], target) - total
        torch.testing.assert_close(gap, rest.float(), rtol=1e-5, atol=1e-7)
        assert (abs(gap) < 1e-6) == (kind is TinyCNN)


def test_full_gradients_are_complete_where_a_norm_has_its_own_activation() -> None:
    """As in timm's DenseNets: a network of convolutions, batch norms and ReLUs like any other."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        norm = BatchNormAct2d(6)
        norm.running_mean.normal_()
        norm.bias.data.normal_()
        model = nn.Sequential(nn.Conv2d(3, 6, 3), norm, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4))
    model, batch = model.double().eval(), sample_images(TinyCNN, 2)
    gap = explained("fullgrad", {}, model, batch, [1, 3], "").checks["completeness_gap"]
    torch.testing.assert_close(gap, torch.zeros(2, 1), rtol=0, atol=1e-6)


@pytest.mark.parametrize("prefix", [0, 1, 2, 5])
@pytest.mark.parametrize("head_fusion", ["mean", "max", "min"])
@pytest.mark.parametrize("discard_ratio", [0.0, 0.1, 0.6])
def test_rollout_with_its_options(prefix: int, head_fusion: str, discard_ratio: float) -> None:
    options = {"head_fusion": head_fusion, "discard_ratio": discard_ratio}
    assert_replicated(
        "rollout", options, network(TinyViT, 2, prefix), sample_images(TinyViT, 2), torch.tensor([[0]] * 2), ""
    )


@pytest.mark.parametrize("prefix", [0, 1, 2, 5])
@pytest.mark.parametrize("name", sorted(OF_ATTENTION))
def test_methods_of_attention_with_any_non_spatial_tokens(name: str, prefix: int) -> None:
    targets = torch.tensor([[0, 3]] * 2)
    assert_replicated(name, {}, network(TinyViT, 2, prefix), sample_images(TinyViT, 2), targets, "")


@pytest.mark.parametrize("name", sorted(name for name in OF_ATTENTION if catalogue.find(name).class_specific))
def test_methods_of_attention_for_any_score(name: str) -> None:
    model, batch = network(TinyViT, 2), sample_images(TinyViT, 2, 1)
    found = explained(name, {}, model, batch, with_log_probability, "").attributions
    assert_equal(found[0, 0], REPLICAS[name](model, batch[0], with_log_probability, ""))


@pytest.mark.parametrize("name", ["gradcam", "hirescam", "shapleycam", "ablationcam", "scorecam", "fullgrad"])
@pytest.mark.parametrize("prefix", [0, 3], ids=["no-token", "three-tokens"])
def test_non_spatial_tokens_are_left_alone(name: str, prefix: int) -> None:
    model, batch = network(TinyViT, 2, prefix), sample_images(TinyViT, 2, 1)
    assert_replicated(name, {}, model, batch, torch.tensor([[0, 2]]), "blocks.1.norm1")


def linear_after_pooling() -> tuple[nn.Module, Callable[[Tensor], Tensor]]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5)).eval()
    return model, lambda maps: torch.einsum("kc,bchw->bkhw", model[3].weight.detach(), maps) / maps[0, 0].numel()


def test_conv_pool_linear_in_closed_form() -> None:
    """Grad-CAM is relu(Σ w_kc A_c) / positions, as is Shapley-CAM; HiResCAM sums to the logit less its bias."""
    model, summed = linear_after_pooling()
    batch = images(2, side=9)
    with torch.no_grad():
        maps = model[0](batch)
        logits = model(batch)
    cam = summed(maps)
    found = pellucid.explain(model, batch, targets="all")
    assert found.layers == ("0",)
    torch.testing.assert_close(found.attributions, cam.relu())
    torch.testing.assert_close(found.logits, logits)
    torch.testing.assert_close(
        pellucid.explain(model, batch, method="shapleycam", targets="all").attributions, cam.relu()
    )
    signed = pellucid.explain(model, batch, method="hirescam", targets="all").attributions
    torch.testing.assert_close(signed, cam)
    torch.testing.assert_close(signed.sum(dim=(2, 3)), logits - model[3].bias.detach())
