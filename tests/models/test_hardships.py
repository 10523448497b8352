"""Models and callers that make an explainer wrong, change what is the user's, or fall over."""

from __future__ import annotations

import threading
import time

import pytest
import torch
from torch import Tensor, nn

import pellucid
from pellucid.core.runtime import Runtime
from pellucid.errors import GradientError, OptionError, OutputError, SourceError, TargetError
from pellucid.methods.eigen_smooth import EigenSmooth
from pellucid.methods.gradcam import GradCAM
from pellucid.methods.integrated_gradients import IntegratedGradients
from pellucid.methods.occlusion import Occlusion
from pellucid.methods.rise import RISE
from pellucid.methods.rollout import Rollout
from pellucid.xai import GradCAM as PublishedGradCAM
from pellucid.xai import GradCAMConfig, PGDAttack
from tests.comparing import same
from tests.networks import TinyCNN, TinyViT, images, seeded

# Where the places are.


def test_of_two_branches_the_one_that_sees_the_explained_input() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.f, self.g = seeded(TinyCNN), seeded(TinyCNN)

        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return self.f(a) + self.g(b)

    model, one, two = Two(), images(1), images(1) + 1
    assert pellucid.explain(model, {"a": one, "b": two}).layers == ("f.features.4",)
    assert pellucid.explain(model, {"b": two, "a": one}).layers == ("g.features",)


# What is remembered, and when it is not.


def test_the_choice_does_not_depend_on_the_first_image() -> None:
    class Gated(TinyCNN):
        def forward(self, x: Tensor) -> Tensor:
            y = self.features(x)
            return self.fc(y.flatten(2).mean(-1)) * (x.abs().sum() > 0)

    expected = pellucid.explain(seeded(Gated), images(1)).layers
    model = seeded(Gated)
    assert pellucid.explain(model, torch.zeros(1, 3, 32, 32)).degenerate.all()
    assert pellucid.explain(model, images(1)).layers == expected


def test_a_dead_branch_is_not_chosen_over_the_trunk() -> None:
    class Residual(TinyCNN):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Conv2d(12, 12, 1)
            self.outer = nn.Conv2d(12, 12, 1, bias=False)
            nn.init.zeros_(self.outer.weight)

        def forward(self, x: Tensor) -> Tensor:
            y = self.features(x)
            return self.fc((y + self.outer(torch.relu(self.inner(y)))).flatten(2).mean(-1))

    assert pellucid.explain(seeded(Residual), images(1)).layers == ("features.4",)


# What is the user's.


class Writing(TinyCNN):
    """Normalises its input in place."""

    def forward(self, x: Tensor) -> Tensor:
        x.sub_(0.5).div_(0.25)
        return super().forward(x)


def test_a_model_that_writes_into_its_input_changes_nothing_of_the_callers() -> None:
    model, batch = seeded(Writing).eval(), images(2)
    before = batch.clone()
    found = pellucid.explain(model, batch)
    assert torch.equal(batch, before)
    torch.testing.assert_close(found.logits, model(before.clone()).detach())
    unit = torch.rand(1, 3, 32, 32)
    adversarial = PGDAttack(model).generate(unit)
    assert 0 < (adversarial - unit).abs().max() <= 8 / 255 + 1e-6


@pytest.mark.parametrize("write", [lambda x: x.data.mul_(2), lambda x: x[:, :, :4].mul_(2)], ids=["data", "part"])
def test_writes_of_every_kind_are_noticed(write) -> None:
    class Sly(TinyCNN):
        def forward(self, x: Tensor) -> Tensor:
            write(x)
            return super().forward(x)

    model, batch = seeded(Sly), images(2)
    before = batch.clone()
    first, second = (pellucid.explain(model, batch) for _ in range(2))
    assert torch.equal(batch, before)
    same(first, second)


def test_a_callable_that_works_in_place_does_not_change_the_logits() -> None:
    model, batch = seeded(TinyCNN), images(1)
    found = pellucid.explain(model, batch, targets=lambda logits: logits.mul_(2)[:, 0])
    torch.testing.assert_close(found.logits, pellucid.explain(model, batch).logits)


def test_an_answer_that_the_model_keeps_is_not_shared() -> None:
    class Keeping(TinyCNN):
        def forward(self, x: Tensor) -> Tensor:
            kept.append(super().forward(x))
            return kept[-1]

    kept: list[Tensor] = []
    found = pellucid.explain(seeded(Keeping), images(1))
    before = found.logits.clone()
    for output in kept:
        output.detach().zero_()
    assert torch.equal(found.logits, before)


def test_a_model_and_a_wrapper_around_it_take_turns() -> None:
    class Slow(TinyCNN):
        def forward(self, x: Tensor) -> Tensor:
            y = self.features(x)
            time.sleep(0.002)
            return self.fc(y.flatten(2).mean(-1))

    model = seeded(Slow)
    wrapper, batch, errors = nn.Sequential(model), images(1), []

    def work(network: nn.Module, layer: str) -> None:
        try:
            for _ in range(15):
                pellucid.explain(network, batch, layers=[layer])
        except pellucid.PellucidError as error:
            errors.append(error)

    threads = [
        threading.Thread(target=work, args=(model, "features")),
        threading.Thread(target=work, args=(wrapper, "0.features")),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


# Answers and targets of all kinds.


class Squeezed(TinyCNN):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).squeeze()


@pytest.mark.parametrize("count", [1, 2])
def test_squeezed_answers(count: int) -> None:
    batch = images(count)
    same(pellucid.explain(seeded(Squeezed), batch), pellucid.explain(seeded(TinyCNN), batch))
    one = pellucid.explain(seeded(Squeezed, 2, 1), batch)
    assert one.head == "binary"
    same(one, pellucid.explain(seeded(TinyCNN, 2, 1), batch))


def test_more_answers_than_images_are_an_error() -> None:
    class Twice(TinyCNN):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(torch.cat([x, x]))

    with pytest.raises(OutputError, match=r"B = 1, were expected from the model, got a tensor \(2, 4\)"):
        pellucid.explain(seeded(Twice), images(1))


def test_targets_and_labels_made_under_inference_mode() -> None:
    model, batch = seeded(TinyCNN).eval(), images(2)
    with torch.inference_mode():
        predicted = model(batch).argmax(1)
    same(pellucid.explain(model, batch, targets=predicted), pellucid.explain(model, batch))
    assert PGDAttack(model).generate(batch, predicted).shape == batch.shape


def test_numpy_targets() -> None:
    model, batch = seeded(TinyCNN), images(2)
    numbers = torch.tensor([1, 2])
    same(pellucid.explain(model, batch, targets=numbers.numpy()), pellucid.explain(model, batch, targets=[1, 2]))
    same(pellucid.explain(model, batch, targets=numbers.numpy()[0]), pellucid.explain(model, batch, targets=1))


@pytest.mark.parametrize("wrong", [True, [True, False]])
def test_truth_values_are_no_classes(wrong: object) -> None:
    with pytest.raises(TargetError, match="got bool"):
        pellucid.explain(seeded(TinyCNN), images(2), targets=wrong)


# inference_mode, autocast, TorchScript, NaN.


def test_autocast_does_not_reach_into_the_map() -> None:
    model, batch = seeded(TinyCNN), images(1)
    expected = pellucid.explain(model, batch)
    with torch.autocast("cpu", torch.bfloat16):
        same(pellucid.explain(model, batch), expected)
        assert torch.is_autocast_enabled("cpu")


SCRIPTS = {
    "traced": lambda model: torch.jit.trace(model, images(1)),
    "scripted": torch.jit.script,
    "frozen": lambda model: torch.jit.freeze(torch.jit.script(model)),
}


@pytest.mark.filterwarnings("ignore:.torch.jit")  # torch's own, that TorchScript is deprecated
@pytest.mark.parametrize("kind", SCRIPTS)
def test_torchscript_is_explained_by_what_looks_at_no_layer(kind: str) -> None:
    model = seeded(TinyCNN).eval()
    script = SCRIPTS[kind](model)
    for method in (Occlusion(window=8, stride=8), RISE(masks=20), "saliency", IntegratedGradients(steps=3)):
        one, other = (pellucid.explain(each, images(2), method=method, targets=1) for each in (script, model))
        torch.testing.assert_close(one.heatmaps, other.heatmaps, rtol=1e-3, atol=1e-4)


@pytest.mark.filterwarnings("ignore:.torch.jit")
@pytest.mark.parametrize("kind", SCRIPTS)
def test_torchscript_is_refused_with_the_remedy_where_it_would_be_looked_into(kind: str) -> None:
    script = SCRIPTS[kind](seeded(TinyCNN).eval())
    for method in ("gradcam", "rollout", "scorecam"):
        with pytest.raises(SourceError, match=r"TorchScript.*\(occlusion, rise\).*nn.Module it was made from"):
            pellucid.explain(script, images(1), method=method)
    for method in ("guided_backprop", "fullgrad", "attnlrp"):
        with pytest.raises(GradientError, match=r"a part of the model is TorchScript.*use (saliency|input_x_gradient)"):
            pellucid.explain(script, images(1), method=method)
    with pytest.raises(SourceError, match="TorchScript"):
        pellucid.recommended_layers(script)


@pytest.mark.filterwarnings("ignore:.torch.jit")
def test_a_part_that_is_torchscript_is_passed_over() -> None:
    model = seeded(TinyCNN).eval()
    expected = pellucid.explain(model, images(2), layers=["features.3"])
    model.fc = torch.jit.script(model.fc)
    same(pellucid.explain(model, images(2), layers=["features.3"]), expected)
    assert pellucid.explain(model, images(2)).layers == ("features.4",)
    pellucid.explain(model, images(2), method="saliency")


def test_one_nan_image_does_not_spoil_the_others_components() -> None:
    model, batch = seeded(TinyCNN), images(2)
    expected = pellucid.explain(model, batch[1:], method=EigenSmooth(GradCAM()), targets=1)
    batch[0] = torch.nan
    found = pellucid.explain(model, batch, method=EigenSmooth(GradCAM()), targets=1)
    assert found.why_degenerate == (("not finite",), (None,))
    torch.testing.assert_close(found.attributions[1], expected.attributions[0])
    raw = PublishedGradCAM(model, GradCAMConfig(["features"], normalize_heatmap=False)).generate_batch_heatmaps(batch)
    assert not raw[0].any()
    assert raw[1].any()


def test_a_layer_that_is_named_twice_counts_once() -> None:
    model, batch = seeded(TinyCNN), images(1)
    twice = pellucid.explain(model, batch, layers=["features.3", "features", "features"])
    torch.testing.assert_close(
        twice.heatmaps, pellucid.explain(model, batch, layers=["features.3", "features"]).heatmaps
    )
    assert twice.layers == ("features.3", "features")


def test_a_number_of_any_kind_is_a_class() -> None:
    gradcam = PublishedGradCAM(seeded(TinyCNN), GradCAMConfig(["features"]))
    expected = gradcam.generate_heatmap(images(1), 1)
    assert (gradcam.generate_heatmap(images(1), torch.tensor(1)) == expected).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": [1]}, "got one of type int"),
        ({"layers": iter(["features"])}, "must be a list of names"),
        ({"classes": 5}, "must be a list of names"),
        ({"runtime": {"batch_size": 1}}, "must be a pellucid.Runtime"),
    ],
)
def test_options_of_the_wrong_type(options: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        pellucid.explain(seeded(TinyCNN), images(1), **options)


@pytest.mark.parametrize("options", [{"batch_size": 1.5}, {"seed": 2**70}, {"seed": -1}])
def test_runtimes_that_cannot_be(options: dict[str, object]) -> None:
    with pytest.raises(OptionError):
        Runtime(**options)


def test_eigen_smooth_wraps_a_method() -> None:
    with pytest.raises(OptionError, match="wraps a Method"):
        EigenSmooth("gradcam")
    with pytest.raises(OptionError, match="weighs no channels"):
        pellucid.explain(seeded(TinyViT), images(1), method=EigenSmooth(Rollout()))


@pytest.mark.parametrize("size", [224, "224", (0, 3)])
def test_sizes_that_cannot_be(size: object) -> None:
    with pytest.raises(pellucid.PellucidError, match="input_size"):
        pellucid.recommended_layers(seeded(TinyCNN), size)
