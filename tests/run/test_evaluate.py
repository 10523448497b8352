"""``evaluate``: bad input, every kind of target, input and head, and that nothing of the caller's is changed."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import pellucid
from pellucid import metrics as m
from pellucid import statistics
from pellucid.errors import OptionError, OutputError, PellucidError, ShapeError, TargetError
from tests.networks import TinyCNN, images, seeded
from tests.run.judged import QUICK, evaluated, maps, model
from tests.run.test_mapping_inputs import Patient, inputs
from tests.run.test_regions import TinySegmenter


@pytest.mark.parametrize(
    ("error", "message", "changed"),
    [
        (OptionError, r"metrics='iou' was given; it must be a list of names or metrics", {"metrics": "iou"}),
        (OptionError, r"metrics=None was given", {"metrics": None}),
        (OptionError, r"metrics='deletion_auc' was given", {"metrics": m.Deletion()}),
        (OptionError, r"metrics=\[\] was given; name at least one of", {"metrics": []}),
        (OptionError, r"metric None was given to pellucid.evaluate; give a name or a metric", {"metrics": [None]}),
        (OptionError, r"metric Deletion was given as a class; write Deletion\(\)", {"metrics": [m.Deletion]}),
        (OptionError, r"metric 'deletion' was asked for; no metric has that name; did you", {"metrics": ["deletion"]}),
        (OptionError, r"metric 'pointing_game' was asked for; .*: give masks=", {"metrics": ["pointing_game"]}),
        (OptionError, r"two metrics 'deletion_auc.*' were given, with other options", "two references"),
        (ShapeError, r"maps \(3, 1, 16, 16\) were given; \(3, 1, 32, 32\)", {"explanation": maps(side=16)}),
        (ShapeError, r"maps \(2, 1, 32, 32\) were given; \(3, 1, 32, 32\)", {"explanation": maps(2)}),
        (ShapeError, r"maps \(3, 2, 32, 32\) were given; \(3, 4, 32, 32\)", {"explanation": maps(3, 2)}),
        (
            ShapeError,
            r"maps: an Explanation or a tensor .* got \(3, 1, 32, 32\) torch.bool",
            {"explanation": maps() > 0},
        ),
        (ShapeError, r"maps: an Explanation or a tensor .* got \(32, 32\)", {"explanation": maps()[0, 0]}),
        (ShapeError, r"maps: an Explanation or a tensor .* got list", {"explanation": [1]}),
        (ShapeError, r"maps: an Explanation or a tensor .* got NoneType", {"explanation": None}),
        (OptionError, r"method 'gradcan' was asked for; no method has that name", {"explanation": "gradcan"}),
        (TargetError, r"class 9 was asked for; the model has 4 classes", {"targets": 9}),
        (TargetError, r"targets for 2 images were given; there are 3", {"targets": [0, 1]}),
        (TargetError, r"class 'edema' was asked for by name", {"targets": "edema"}),
        (TargetError, r"a target must be 'predicted'", {"targets": 1.5}),
        (TargetError, r"a callable target must return a tensor", {"targets": lambda out: 3}),
        (TargetError, r"the callable target failed on the model's output", {"targets": lambda out: out[:, 99]}),
        (TargetError, r"a Region was asked for; the model gives one score a class", {"targets": pellucid.Region(0)}),
        (ShapeError, r"maps \(3, 1, 32, 32\) were given; \(3, 2, 32, 32\)", {"targets": torch.zeros(3, 2).long()}),
        (ShapeError, r"maps \(3, 1, 32, 32\) were given; \(3, 2, 32, 32\)", {"targets": lambda out: out[:, :2]}),
        (OptionError, r"head 'margin' was asked for; there are softmax", {"head": "margin"}),
        (OptionError, r"head 'binary' was asked for; it takes one logit, the model gives 4", {"head": "binary"}),
        (OutputError, r"output 'x' was asked for", {"output": "x"}),
        (OptionError, r"seed must be a whole number", {"seed": -1}),
        (OptionError, r"seed must be a whole number", {"seed": 0.5}),
        (OptionError, r"seed must be a whole number .* got True$", {"seed": True}),
        (OptionError, r"seed must be a whole number .* got np.int64\(3\): write int\(3\)", {"seed": np.int64(3)}),
        (ShapeError, r"images: a tensor with values was expected, .* 'meta'", {"images": images(3).to("meta")}),
        (ShapeError, r"images: a dense tensor was .*: write images.to_dense\(\)", {"images": images(3).to_sparse()}),
        (ShapeError, r"maps: a tensor with values was expected, .* 'meta'", {"explanation": maps().to("meta")}),
        (ShapeError, r"maps: a dense tensor .*: write maps.to_dense\(\)", {"explanation": maps().to_sparse()}),
        (ShapeError, r"maps: .* got ndarray: write torch.tensor\(maps\)", {"explanation": maps().numpy()}),
        (ShapeError, r"maps: .* torch.bool: write maps.float\(\)", {"explanation": maps() > 0}),
        (ShapeError, r"maps: at least one map of one pixel", {"explanation": maps()[..., :0]}),
        (ShapeError, r"masks: a tensor with values was", {"masks": maps().to("meta"), "metrics": ["iou"]}),
        (ShapeError, r"masks: a dense tensor was", {"masks": maps().to_sparse(), "metrics": ["iou"]}),
        (ShapeError, r"masks: a dense tensor was", {"masks": [None, maps()[1].to_sparse(), None], "metrics": ["iou"]}),
        (ShapeError, r"images: a tensor \(B, C, \*space\) was expected, got NoneType", {"images": None}),
        (ShapeError, r"images: at least one image", {"images": images()[:0], "explanation": maps()[:0]}),
        (OptionError, r"model must be a torch.nn.Module, got int", {"model": 3}),
        (OptionError, r"method 'nope' was asked for", {"method": "nope"}),
    ],
)
def test_bad_input_is_told_in_one_line(error: type[PellucidError], message: str, changed: Any) -> None:
    if changed == "two references":
        some = [m.Deletion(2, m.References(images(4) + shift)) for shift in (0, 1)]
        changed = {"metrics": some}
    with pytest.raises(error, match=f"^{message}") as raised:
        evaluated(**changed)
    assert "\n" not in str(raised.value)


class OneLogit(TinyCNN):
    def __init__(self) -> None:
        super().__init__(classes=1)


def by_hand(network: nn.Module, batch: Tensor, given: Tensor, score: Callable[[Tensor], Tensor], steps: int) -> Tensor:
    """Deletion to zeros with ``steps`` steps, of maps (B, *space) without ties."""
    total = given[0].numel()
    order = given.flatten(1).argsort(1, descending=True)
    curve = []
    for step in range(steps + 1):
        gone = torch.zeros(len(given), total, dtype=torch.bool)
        gone.scatter_(1, order[:, : round(step * total / steps)], True)
        with torch.no_grad():
            curve.append(score(network(batch.masked_fill(gone.view_as(given)[:, None], 0))))
    heights = torch.stack(curve, 1).double()
    return ((heights[:, 1:] + heights[:, :-1]) / 2).mean(1)


@pytest.mark.parametrize(
    ("kind", "head", "targets", "score"),
    [
        (TinyCNN, "softmax", 2, lambda out: out.softmax(1)[:, 2]),
        (TinyCNN, "sigmoid", 2, lambda out: out[:, 2].sigmoid()),
        (TinyCNN, "regression", 5, lambda out: out[:, 2]),
        (TinyCNN, "regression", 4, lambda out: -out[:, 2]),
        (OneLogit, "binary", 1, lambda out: out[:, 0].sigmoid()),
        (OneLogit, "binary", 0, lambda out: (-out[:, 0]).sigmoid()),
        (OneLogit, "auto", "predicted", lambda out: out[:, 0].abs().sigmoid()),
        (TinyCNN, "softmax", lambda out: out[:, 0] - out[:, 1], lambda out: out[:, 0] - out[:, 1]),
        (TinyCNN, "sigmoid", lambda out: out[:, [3]] ** 2, lambda out: out[:, 3] ** 2),
    ],
)
def test_the_score_is_the_heads_probability_or_the_callables(kind, head, targets, score) -> None:
    network = seeded(kind).eval()
    found = evaluated(model=network, head=head, targets=targets, metrics=[m.Deletion(5)])["deletion_auc(steps=5)"]
    if targets == "predicted":  # of the image as it is, whatever changed images show
        with torch.no_grad():
            sign = network(images())[:, 0].sign()
        score = lambda out: (sign * out[:, 0]).sigmoid()  # noqa: E731
    expected = by_hand(network, images(), maps()[:, 0], score, 5)
    torch.testing.assert_close(found[:, 0], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("method", ["saliency", "input_x_gradient"])
@pytest.mark.parametrize("target", ["higher", "lower"])
def test_a_regression_head_of_one_value_has_no_other_class(method: str, target: str) -> None:
    network = nn.Sequential(seeded(TinyCNN), nn.Linear(4, 1)).eval()
    found = evaluated(model=network, explanation=method, targets=target, head="regression", metrics=["random_logit"])
    assert found["random_logit"].isnan().all()
    assert found.missing("random_logit") == {"the other direction of a value is no other class": 3}


def test_the_class_is_that_of_the_image_as_it_is() -> None:
    network, batch = model(), 30 * images()
    with torch.no_grad():
        predicted = network(batch).argmax(1)
        assert (network(0 * batch).argmax(1) != predicted).any(), "the changed images show another class"
    found = evaluated(model=network, images=batch)
    named = evaluated(model=network, images=batch, targets=predicted)
    assert torch.equal(found["deletion_auc(steps=2)"], named["deletion_auc(steps=2)"])
    assert torch.equal(found.targets[:, 0], predicted)


def test_a_network_that_ends_in_a_softmax_has_the_same_scores() -> None:
    ending = nn.Sequential(model(), nn.Softmax(1)).eval()
    plain, ended = evaluated(metrics=QUICK), evaluated(model=ending, metrics=QUICK)
    for name in plain:
        torch.testing.assert_close(ended[name], plain[name], rtol=0, atol=1e-5)
    as_returned = evaluated(model=ending, head="probability")
    torch.testing.assert_close(as_returned["deletion_auc(steps=2)"], plain_deletion(), rtol=0, atol=1e-6)


def plain_deletion() -> Tensor:
    return evaluated()["deletion_auc(steps=2)"]


@pytest.mark.parametrize("where", ["mask", "one mask", "predicted"])
def test_the_score_of_a_region_is_the_mean_probability_there(where: str) -> None:
    network, batch = seeded(TinySegmenter).eval(), 30 * images()
    mask = torch.zeros(3, 16, 16, dtype=torch.bool)
    mask[:, 3:9, 2:11] = True
    with torch.no_grad():
        shown = network(batch).argmax(1)
        class_ = int(shown.flatten().mode().values)
        seen = shown == class_
    assert seen.flatten(1).any(1).all()
    assert not seen.all()
    mask = {"mask": mask, "one mask": mask, "predicted": seen}[where]
    given = {"mask": mask, "one mask": mask[0], "predicted": None}[where]
    found = evaluated(model=network, images=batch, targets=pellucid.Region(class_, given), metrics=[m.Deletion(4)])

    def score(out: Tensor) -> Tensor:
        inside = torch.where(mask, out.softmax(1)[:, class_], 0).flatten(1).sum(1)
        return inside / mask.flatten(1).sum(1)

    expected = by_hand(network, batch, maps()[:, 0], score, 4)
    torch.testing.assert_close(found["deletion_auc(steps=4)"][:, 0], expected, rtol=0, atol=1e-6)


def test_a_map_of_logits_has_the_probability_of_its_mean() -> None:
    network = seeded(TinySegmenter).eval()
    found = evaluated(model=network, targets=1, metrics=[m.Deletion(4)])
    expected = by_hand(network, images(), maps()[:, 0], lambda out: out.flatten(2).mean(2).softmax(1)[:, 1], 4)
    torch.testing.assert_close(found["deletion_auc(steps=4)"][:, 0], expected, rtol=0, atol=1e-6)


def test_further_inputs_stay_with_their_image() -> None:
    network, given = seeded(Patient).eval(), inputs()
    whole = evaluated(
        model=network,
        images=given,
        targets="all",
        explanation=maps(3, 4),
        metrics=QUICK,
        runtime=pellucid.Runtime(batch_size=5),
    )
    for row in range(3):
        alone = evaluated(
            model=network,
            images={name: one[row : row + 1] for name, one in given.items()},
            targets="all",
            explanation=maps(3, 4)[row : row + 1],
            metrics=QUICK,
        )
        for name in whole:
            torch.testing.assert_close(alone[name][0], whole[name][row], rtol=1e-4, atol=2e-6, equal_nan=True)

    def score(out: Tensor) -> Tensor:
        return out.softmax(1)[:, 1]

    class Fixed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return network(x, given["age"], given["flags"], given["view"])

    expected = by_hand(Fixed(), given["image"], maps(3, 4)[:, 1], score, 3)
    torch.testing.assert_close(whole["deletion_auc(steps=3)"][:, 1], expected, rtol=0, atol=1e-6)


def test_volumes() -> None:
    network, batch = seeded(TinyCNN, 3).eval(), images(2, rank=3, side=8)
    found = evaluated(model=network, images=batch, explanation=maps(2, 4, 3, 8), targets="all", metrics=QUICK)
    for name in found:
        assert found[name].shape == (2, 4)
        assert found[name].isfinite().all()
    expected = by_hand(network, batch, maps(2, 4, 3, 8)[:, 2], lambda out: out.softmax(1)[:, 2], 3)
    torch.testing.assert_close(found["deletion_auc(steps=3)"][:, 2], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("training", [False, True])
def test_nothing_of_the_callers_is_changed(training: bool) -> None:
    network, batch, given = model().train(training), images(), maps()
    batch.requires_grad_(True)
    others, labels = images(5)[3:], torch.tensor([0, 1])
    before = copy.deepcopy(network.state_dict())
    kept = [one.detach().clone() for one in (batch, given, others, labels)]
    random, mode = torch.get_rng_state(), torch.is_grad_enabled()
    evaluated(
        model=network,
        images=batch,
        explanation=given,
        targets=0,
        metrics=(*QUICK, m.Deletion(2, m.References(others, labels + 1))),
    )
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.is_grad_enabled() == mode
    assert network.training == training
    assert all(module.training == training for module in network.modules())
    assert all(torch.equal(one, before[name]) for name, one in network.state_dict().items())
    assert all(not module._forward_hooks and not module._forward_pre_hooks for module in network.modules())
    assert all(one.grad is None for one in network.parameters())
    assert batch.grad is None
    assert all(torch.equal(one.detach(), then) for one, then in zip((batch, given, others, labels), kept, strict=True))


def test_the_seed_decides_and_the_process_does_not() -> None:
    def at(seed: int) -> list[Tensor]:
        torch.rand(3)
        scores = evaluated(explanation=maps().round(), metrics=QUICK, seed=seed)
        return [scores[name] for name in scores]

    assert all(torch.equal(one, other) for one, other in zip(at(3), at(3), strict=True))
    assert any(not torch.equal(one, other) for one, other in zip(at(3), at(4), strict=True))


def test_the_interval_is_that_of_the_statistics_by_patient() -> None:
    values = torch.linspace(0, 1, 60, dtype=torch.float64).reshape(30, 2)
    hits = (values > 0.3).double()
    hits[0, 0] = torch.nan
    metrics = {"l2": m.L2(), "pointing_game": m.PointingGame()}
    none = tuple((None, None) for _ in range(30))
    scores = pellucid.Scores(
        {"l2": values, "pointing_game": hits}, dict.fromkeys(metrics, none), metrics, torch.zeros(30, 2)
    )
    patients = [f"p{number // 2}" for number in range(30)]
    each = [patient for patient in patients for _ in range(2)]
    assert scores.interval("pointing_game", patients) == statistics.proportion(hits.flatten().numpy(), each)
    by_image = [number // 2 for number in range(60)]
    expected = statistics.mean(values.flatten().numpy(), by_image, generator=np.random.default_rng(0))
    assert scores.interval("l2") == expected
    assert scores.interval("l2", patients).withheld == "fewer than 20 patients"
    shown = scores.interval("pointing_game", patients)
    assert f"{round(shown.low, 4):.4g} to {round(shown.high, 4):.4g}" in scores.table(patients)
    with pytest.raises(ShapeError, match="3 patients were given; there are 30 images: name one for each"):
        scores.table(["a", "b", "c"])
    for nothing in (7, {1, 2}, "P"):
        with pytest.raises(OptionError, match="patients must be a list or array"):
            scores.table(nothing)


def test_the_precision_auto_is_the_models_own() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    ).eval()
    images = torch.randn(2, 1, 16, 16)
    found = [
        pellucid.evaluate(network, images, "gradcam", runtime=pellucid.Runtime(precision=precision))["deletion_auc"]
        for precision in ("auto", None)
    ]
    assert torch.equal(*found)


@pytest.mark.parametrize("size", [1e-6, 1e-3, 0.4, 1.0, 1.1, 1e4])
def test_the_scale_of_maps_that_are_no_heatmaps_does_not_matter(size: float) -> None:
    model, batch = seeded(TinyCNN).eval(), images(3)
    maps = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0)).square()
    maps = (maps - maps.amin((1, 2), keepdim=True)) / (
        maps.amax((1, 2), keepdim=True) - maps.amin((1, 2), keepdim=True)
    )
    masks = torch.zeros(3, 32, 32)
    masks[:, 4:20, 8:24] = 1
    asked = ["iou", "lesion_coverage", "saliency_precision", "relevance_mass"]
    options = {"targets": 0, "masks": masks, "metrics": asked, "head": "softmax"}
    found = pellucid.evaluate(model, batch, size * maps, **options)
    for name in found:
        torch.testing.assert_close(found[name], pellucid.evaluate(model, batch, maps, **options)[name])
        assert bool((found[name] > 0).all())


def test_maps_of_volumes_without_classes_are_of_the_predicted_one() -> None:
    model, volumes = seeded(TinyCNN, 3).eval(), images(2, rank=3, side=16)
    maps = torch.rand(2, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    found = pellucid.evaluate(model, volumes, maps, metrics=["deletion_auc"], head="softmax")["deletion_auc"]
    with_axis = pellucid.evaluate(model, volumes, maps[:, None], metrics=["deletion_auc"], head="softmax")[
        "deletion_auc"
    ]
    assert found.shape == (2, 1)
    assert torch.equal(found, with_axis)
