"""Maps made again: of changed images, other classes and random weights, compared with explanations one at a time."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from torch import nn

import pellucid
from pellucid.core.attribution import Attribution
from pellucid.core.method import Method
from pellucid.core.metric import Metric, Takes, Values
from pellucid.errors import OptionError, SourceError
from pellucid.metrics.emprt import EfficientMPRT
from pellucid.metrics.max_sensitivity import MaxSensitivity
from pellucid.metrics.mprt import MPRT
from pellucid.metrics.random_logit import RandomLogit
from pellucid.metrics.smprt import SmoothMPRT
from tests.metrics.remaking import Cosine
from tests.networks import TinyCNN, TinyViT, images, seeded


@dataclass(frozen=True)
class Look(Metric):
    """Keeps what a function sees of the cases."""

    look: Callable
    takes: Takes = "heatmaps"

    def update(self, cases) -> Values:
        found.append(self.look(cases))
        return Values(torch.zeros(len(cases.images)))


found: list = []


def looked(model, given, explanation, look, takes="heatmaps", **options):
    """What ``look`` returns of the cases of all images at once."""
    found.clear()
    pellucid.evaluate(model, given, explanation, metrics=[Look(look, takes)], **options)
    assert len(found) == 1
    return found[0]


def same(cases):
    return lambda numbers, steps: cases.images[numbers]


def darker(cases):
    """Each step another change, which may turn the prediction."""
    return lambda numbers, steps: cases.images[numbers] * (1 - 0.9 * steps.reshape(-1, 1, 1, 1))


class Counting(TinyCNN):
    """Notes the number of images of each pass."""

    def __init__(self) -> None:
        super().__init__()
        self.passes: list[int] = []

    def forward(self, x):
        self.passes.append(len(x))
        return super().forward(x)


class Mapped(nn.Module):
    """A network that outputs a map of logits."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.second = nn.Conv2d(6, 6, 3, padding=1)
        self.last = nn.Conv2d(6, 3, 1)

    def forward(self, x):
        return self.last(self.second(self.first(x).relu()).relu())


NOISY = pellucid.methods.SmoothGrad(pellucid.methods.GradCAM(), samples=2)


@pytest.mark.parametrize("takes", ["heatmaps", "attributions"])
@pytest.mark.parametrize(
    ("build", "method", "options"),
    [
        (TinyCNN, "gradcam", {}),
        (TinyCNN, "saliency", {"targets": "all"}),
        (TinyCNN, NOISY, {"targets": torch.tensor([[0, 2], [1, 1], [3, 0]])}),
        (TinyCNN, "gradcam", {"layers": ["features.0", "features.2"], "fuse": "max"}),
        (TinyCNN, "eigencam", {"targets": torch.tensor([[0, 2], [1, 1], [3, 0]])}),
        (TinyCNN, "gradcam", {"targets": lambda scores: torch.stack([scores[:, 0], scores[:, 1] ** 2], dim=1)}),
        (TinyViT, "rollout", {}),
        (TinyViT, "hirescam", {"targets": [0, 1, 2]}),
        (Mapped, "gradcam", {"targets": pellucid.Region(1)}),
    ],
)
def test_maps_of_unchanged_images_are_those_that_were_given(build, method, options, takes):
    model, given = seeded(build), images()
    runtime = pellucid.Runtime(seed=3)
    explanation = pellucid.explain(model, given, method, runtime=runtime, **options)
    expected = explanation.heatmaps
    if takes == "attributions":
        expected = pellucid.core.space.upsample(explanation.attributions, expected.shape[2:])
    again = {"targets": options["targets"]} if "targets" in options else {}
    remade = looked(
        model, given, explanation, lambda cases: list(cases.remade(2, same(cases))), takes, runtime=runtime, **again
    )
    for one in remade:
        torch.testing.assert_close(one.maps, expected.flatten(0, 1))
        torch.testing.assert_close(one.outputs, explanation.logits.repeat_interleave(expected.shape[1], 0))


@pytest.mark.parametrize("size", [1, 2, 32])
def test_changed_images_keep_the_class_and_the_layers(size):
    model, given = seeded(TinyCNN), images()
    explanation = pellucid.explain(model, given, layers=["features.0"])
    runtime = pellucid.Runtime(batch_size=size)
    found.clear()
    metric = Look(lambda cases: list(cases.maps_of(3, darker(cases))))
    pellucid.evaluate(model, given, explanation, metrics=[metric], runtime=runtime)
    remade = [torch.cat(steps) for steps in zip(*found, strict=True)]
    turned = False
    for step in range(3):
        changed = given * (1 - 0.9 * step)
        expected = pellucid.explain(model, changed, layers=["features.0"], targets=explanation.targets)
        torch.testing.assert_close(remade[step], expected.heatmaps[:, 0])
        turned |= not torch.equal(pellucid.explain(model, changed).targets, explanation.targets)
    assert turned


def test_images_that_are_changed_for_each_class_get_the_map_of_that_class():
    model, given = seeded(TinyCNN), images()
    explanation = pellucid.explain(model, given, targets=torch.tensor([[0, 2], [1, 1], [3, 0]]))

    def look(cases):
        size = cases.classes.reshape(-1, 1, 1, 1) + 1.0
        return next(iter(cases.maps_of(1, lambda numbers, _: (cases.images * size)[numbers])))

    remade = looked(model, given, explanation, look).unflatten(0, (3, 2))
    for image, row in enumerate(explanation.targets.tolist()):
        for column, number in enumerate(row):
            expected = pellucid.explain(model, given[image : image + 1] * (number + 1), targets=number)
            torch.testing.assert_close(remade[image, column], expected.heatmaps[0, 0])


def test_the_maps_of_other_classes():
    model, given = seeded(TinyCNN), images()
    explanation = pellucid.explain(model, given, targets=torch.tensor([[0, 2], [1, 1], [3, 0]]))
    remade = looked(model, given, explanation, lambda cases: cases.maps_of_class(3 - cases.classes))
    expected = pellucid.explain(model, given, targets=3 - explanation.targets)
    torch.testing.assert_close(remade, expected.heatmaps.flatten(0, 1))


def test_a_batch_that_is_explained_again_costs_one_pass():
    model, given = seeded(Counting), images(4)
    explanation = pellucid.explain(model, given, targets=torch.tensor([[0, 2]] * 4))
    passes = model.passes

    def look(cases):
        counts = []
        list(cases.maps_of(1, same(cases)))
        for work in (
            lambda: list(cases.maps_of(5, darker(cases))),
            lambda: cases.maps_of_class(3 - cases.classes),
            lambda: list(cases.maps_randomised("top_down")),
        ):
            passes.clear()
            work()
            counts.append(passes.copy())
        return counts

    one, few = pellucid.Runtime(batch_size=8), pellucid.Runtime(batch_size=40)
    metrics = looked(model, given, explanation, look, runtime=one)
    assert metrics[0] == [4] * 5  # of two classes each, not 8
    assert metrics[1] == [4]
    assert metrics[2][-4:] == [4] * 4
    assert len(metrics[2]) == 4 + 1
    assert looked(model, given, explanation, look, runtime=few)[0] == [20]  # as many steps as a pass holds


def test_scores_of_the_images_are_made_where_a_metric_wants_them_only():
    model, given = seeded(Counting), images(4)
    explanation = pellucid.explain(model, given)
    masks = torch.ones(4, 32, 32)
    pellucid.evaluate(model, given, explanation, metrics=["pointing_game"], masks=masks)
    model.passes.clear()
    pellucid.evaluate(model, given, explanation, metrics=["pointing_game"], masks=masks)
    assert model.passes == [1]  # one image, for the number of classes
    model.passes.clear()
    runtime = pellucid.Runtime(batch_size=4)
    metrics = [MaxSensitivity(3), "random_logit", "mprt"]
    pellucid.evaluate(model, given, explanation, metrics=metrics, runtime=runtime)
    # One for the number of classes; random_logit wants the scores and makes one map; one for the layers' order.
    assert model.passes == [1, 4, 4, 4, 4, 4, 1, 4, 4, 4, 4]


@pytest.mark.parametrize("targets", [None, "all", lambda scores: scores[:, :2], pellucid.Region(1)])
def test_scores_are_those_of_the_images(targets):
    model, given = seeded(Mapped if isinstance(targets, pellucid.Region) else TinyCNN), images()
    explanation = pellucid.explain(model, given, targets="predicted" if targets is None else targets)
    options = {} if targets is None else {"targets": targets}
    outputs = looked(model, given, explanation, lambda cases: cases.outputs, **options)
    torch.testing.assert_close(outputs, explanation.logits.repeat_interleave(explanation.targets.shape[1], 0))


def test_a_map_made_again_that_is_not_finite_is_no_empty_one():
    model, given = seeded(TinyCNN), images()
    explanation = pellucid.explain(model, given)

    def look(cases):
        return next(iter(cases.maps_of(1, lambda numbers, _: cases.images[numbers] * torch.nan)))

    assert bool(looked(model, given, explanation, look).isnan().all())


@pytest.mark.parametrize("seed", [0, 4])
def test_a_method_that_draws_numbers_draws_those_of_the_maps(seed):
    model, given = seeded(TinyCNN), images()
    noisy = pellucid.methods.SmoothGrad(samples=2, noise=0.5)
    for explanation in (noisy, pellucid.explain(model, given, noisy, runtime=pellucid.Runtime(seed=7))):
        for method in (None, noisy):
            pairs = looked(
                model, given, explanation, lambda c: (c.maps, *c.maps_of(1, same(c))), seed=seed, method=method
            )
            torch.testing.assert_close(*pairs)


def test_nothing_is_warned_of_again():
    model, given = seeded(TinyCNN), images()
    explanation = pellucid.explain(model, given, layers=["features.0"])
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        metrics = [MaxSensitivity(2), MPRT(Cosine()), RandomLogit(Cosine())]
        pellucid.evaluate(model, given, explanation, metrics=metrics)
    assert not seen


ORDERS = {
    "top_down": lambda names: [names[-count:] for count in range(1, len(names) + 1)],
    "bottom_up": lambda names: [names[:count] for count in range(1, len(names) + 1)],
    "independent": lambda names: [[name] for name in names],
    "all": lambda names: [names],
}
LAYERS = {"features.0": 0, "features.2": 1, "features.3": 2, "fc": 3}


@pytest.mark.parametrize("order", ORDERS)
def test_random_weights_are_those_of_a_copy_that_is_initialised_again(order):
    model, given = seeded(TinyCNN).train(), images()
    explanation = pellucid.explain(model, given, targets=[0, 1, 2])
    made = looked(model, given, explanation, lambda cases: list(cases.maps_randomised(order)), seed=5)
    steps = ORDERS[order](list(LAYERS))
    for (name, maps), layers in zip(made, steps, strict=True):
        other = copy.deepcopy(model)
        with torch.random.fork_rng(devices=[]):
            for layer in layers:
                torch.manual_seed(5 * len(LAYERS) + LAYERS[layer])
                other.get_submodule(layer).reset_parameters()
        expected = pellucid.explain(other, given, targets=[0, 1, 2], layers=explanation.layers)
        torch.testing.assert_close(maps, expected.heatmaps[:, 0])
        assert name == {"top_down": layers[0], "all": "all layers"}.get(order, layers[-1])


def state(model):
    """All that a caller could see change in a model, and in the process's random numbers."""
    named = model.state_dict(keep_vars=True)
    facts = [(name, id(one), one._version) for name, one in named.items()]
    facts += [(name, id(one), one.training, len(one._forward_hooks)) for name, one in model.named_modules()]
    values = [one.detach().clone() for one in named.values()]
    return facts, values, [one.grad.clone() for one in model.parameters()], torch.get_rng_state()


def assert_same(one, other):
    assert one[0] == other[0]
    torch.testing.assert_close(one[1:], other[1:], rtol=0, atol=0)


@pytest.mark.parametrize("fails", [False, True])
def test_the_model_and_the_random_numbers_of_the_process_are_left_alone(fails):
    model, given = seeded(TinyCNN).train(), images()
    model.features[2].register_forward_hook(lambda *_: None)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    explanation = pellucid.explain(model, given)
    before = state(model)

    def look(cases):
        for number, _ in enumerate(cases.maps_randomised("top_down", 2, darker(cases))):
            if fails and number == 2:
                raise KeyboardInterrupt

    if fails:
        with pytest.raises(KeyboardInterrupt):
            looked(model, given, explanation, look)
    else:
        looked(model, given, explanation, look)
        metrics = [MPRT(Cosine()), SmoothMPRT(Cosine(), samples=2), EfficientMPRT(), RandomLogit(Cosine())]
        pellucid.evaluate(model, given, explanation, metrics=metrics)
    assert_same(state(model), before)


def test_values_are_those_of_the_seed_however_many_images_a_pass_has():
    model, given = seeded(TinyCNN), images(5)
    explanation = pellucid.explain(model, given, targets="all")
    metrics = [
        MPRT(Cosine()),
        SmoothMPRT(Cosine(), samples=3),
        EfficientMPRT(),
        RandomLogit(Cosine()),
        MaxSensitivity(3),
    ]

    def values(size, seed):
        runtime = pellucid.Runtime(batch_size=size)
        return pellucid.evaluate(model, given, explanation, metrics=metrics, seed=seed, runtime=runtime).values

    one, two, other = values(32, 1), values(3, 1), values(32, 2)
    for name, expected in one.items():
        torch.testing.assert_close(two[name], expected, rtol=1e-4, atol=1e-6, equal_nan=True)
        assert not torch.allclose(other[name], expected, rtol=1e-3, atol=1e-4, equal_nan=True), name


def test_a_change_of_the_model_shows_at_once():
    model, given = seeded(TinyCNN), images()
    explanation = pellucid.explain(model, given, targets=[0, 1, 2])
    metrics = [MaxSensitivity(3), MPRT(Cosine())]
    first = pellucid.evaluate(model, given, explanation, metrics=metrics).values
    with torch.no_grad():
        model.features[0].weight.mul_(-0.5)
    second = pellucid.evaluate(model, given, explanation, metrics=metrics).values
    fresh = pellucid.evaluate(copy.deepcopy(model), given, explanation, metrics=metrics).values
    for name in first:
        torch.testing.assert_close(second[name], fresh[name], equal_nan=True)
        assert not torch.allclose(second[name], first[name], equal_nan=True)


def test_the_similarity_of_each_layer_is_kept():
    model, given = seeded(TinyCNN), images()
    explanation = pellucid.explain(model, given, targets="all")
    scores = pellucid.evaluate(model, given, explanation, metrics=[MPRT(Cosine()), "pointing_game"][:1])
    [(label, steps)] = scores.steps.items()
    assert list(steps) == ["fc", "features.3", "features.2", "features.0"]
    assert {tuple(one.shape) for one in steps.values()} == {(3, 4)}
    torch.testing.assert_close(torch.stack(list(steps.values())).nanmean(0), scores[label], equal_nan=True)


@dataclass(frozen=True)
class Edges(Method):
    """The differences between neighbours: a map that does not look at the model."""

    uses_layers: ClassVar[bool] = False
    uses_gradients: ClassVar[bool] = False
    class_specific: ClassVar[bool] = False

    def attribute(self, probe, targets):
        grey = probe.inputs.images.mean(1, keepdim=True)
        return Attribution((grey - grey.roll(1, -1)).abs())


@pytest.mark.parametrize("build", [TinyCNN, TinyViT])
def test_a_method_that_does_not_look_at_the_model_has_the_similarity_1(build):
    model, given = seeded(build), images()
    explanation = pellucid.explain(model, given, Edges())
    metrics = [MPRT(Cosine()), MPRT(Cosine(), "independent"), SmoothMPRT(Cosine(), samples=2), RandomLogit(Cosine())]
    scores = pellucid.evaluate(model, given, explanation, metrics=[*metrics, "emprt"], method=Edges())
    for name in scores:
        torch.testing.assert_close(scores[name], torch.full((3, 1), 0.0 if name == "emprt" else 1.0).double())
    other = pellucid.evaluate(model, given, pellucid.explain(model, given, "saliency"), metrics=metrics[:1])
    assert float(other[next(iter(other))].max()) < 0.9


def test_maps_alone_cannot_be_made_again():
    model, given = seeded(TinyCNN), images()
    with pytest.raises(
        OptionError, match=r"makes maps of changed images, and only maps were given: give method="
    ) as caught:
        pellucid.evaluate(model, given, torch.rand(3, 32, 32), metrics=["max_sensitivity"])
    assert "\n" not in str(caught.value)
    scores = pellucid.evaluate(model, given, torch.rand(3, 32, 32), metrics=["max_sensitivity"], method="saliency")
    assert not scores["max_sensitivity"].isnan().any()


def test_a_method_that_cannot_be_read_back_is_asked_for_where_it_is_needed():
    model, given = seeded(TinyCNN), images()
    inner = pellucid.methods.SmoothGrad(pellucid.methods.GradCAM(), samples=2)
    explanation = pellucid.explain(model, given, pellucid.methods.SmoothGrad(inner, samples=2))
    masks = torch.ones(3, 32, 32)
    scores = pellucid.evaluate(model, given, explanation, metrics=["pointing_game"], masks=masks)
    assert scores["pointing_game"].tolist() == [[1], [1], [1]]
    with pytest.raises(OptionError, match="give method="):
        pellucid.evaluate(model, given, explanation, metrics=["max_sensitivity"])
    with pytest.raises(OptionError, match="'nothing'"):
        pellucid.evaluate(model, given, explanation, metrics=["pointing_game"], masks=masks, method="nothing")


def test_a_model_whose_weights_cannot_be_exchanged_is_refused():
    given = images()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, that TorchScript will go
        script = torch.jit.trace(seeded(TinyCNN).eval(), given)
    maps = torch.rand(3, 32, 32)
    with pytest.raises(SourceError, match="the model is TorchScript, and its weights cannot be exchanged") as caught:
        pellucid.evaluate(script, given, maps, metrics=[EfficientMPRT()], method="saliency")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_draws_the_same_weights(precision):
    model, given = seeded(TinyCNN), images()
    explanation = pellucid.explain(model, given, targets=[0, 1, 2])
    look = lambda cases: next(maps for _, maps in cases.maps_randomised("all"))  # noqa: E731
    expected = looked(model, given, explanation, look)
    half = looked(model, given, explanation, look, runtime=pellucid.Runtime(precision=precision))
    assert float(torch.corrcoef(torch.stack([expected.flatten(), half.float().flatten()]))[0, 1]) > 0.99
