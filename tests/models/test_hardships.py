"""Models and callers that make an explainer wrong, change what is the user's, or fall over."""

from __future__ import annotations

import copy
import gc
import threading
import time
import weakref

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F

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
from tests.networks import CONVOLUTIONS, TinyCNN, TinyViT, images, seeded

HALF = Runtime(precision="bfloat16")


def same(one: pellucid.Explanation, other: pellucid.Explanation) -> None:
    assert one.layers == other.layers
    torch.testing.assert_close(one.attributions, other.attributions)
    torch.testing.assert_close(one.logits, other.logits)


# Where the places are.


def strided(rank: int, channels: list[int], strides: list[object]) -> nn.Sequential:
    pairs = zip(channels, channels[1:], strides, strict=False)
    return nn.Sequential(*[CONVOLUTIONS[rank](old, new, 3, stride, 1) for old, new, stride in pairs])


@pytest.mark.parametrize(
    ("network", "shape", "grid"),
    [
        (strided(2, [3, 8, 8, 8, 8, 14], [2] * 5), (3, 300, 214), (10, 7)),
        (strided(3, [1, 8, 8], [(1, 2, 2)] * 2), (1, 16, 64, 64), (16, 16, 16)),
        (strided(2, [1, 16, 16], [(4, 2), (2, 1)]), (1, 64, 64), (8, 32)),
    ],
    ids=["as many channels as rows fit", "anisotropic volume", "anisotropic picture"],
)
def test_a_convolutions_channels_are_not_read_as_places(
    network: nn.Module, shape: tuple[int, ...], grid: tuple[int, ...]
) -> None:
    class Pooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.f = network
            self.fc = nn.LazyLinear(3)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(self.f(x).flatten(2).mean(-1))

    model, batch = Pooled(), torch.randn(1, *shape)
    model(batch)
    found = pellucid.explain(model, batch, targets=0)
    assert found.attributions.shape[2:] == grid
    assert found.layers == ("f",) or found.layers[0] == f"f.{len(network) - 1}"


def test_a_convolution_over_channels_is_no_picture() -> None:
    model = timm.create_model("ecaresnet26t")  # its attention over channels is a Conv1d
    assert pellucid.recommended_layers(model, (64, 64)) == ["layer4"]


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


def test_registers_are_not_taken_for_a_class_token() -> None:
    model = timm.create_model("vit_little_patch16_reg4_gap_256", img_size=64, depth=2, num_classes=3)
    found = pellucid.explain(model, images(1, side=64), method="rollout")
    pooled = copy.deepcopy(model)
    taken: list[Tensor] = []
    for block in pooled.blocks:
        block.attn.fused_attn = False
        block.attn.attn_drop.register_forward_pre_hook(lambda _m, args: taken.append(args[0]))
    with torch.no_grad():
        pooled.eval()(images(1, side=64))
    product = torch.eye(20)
    for attention in taken:
        rows = attention[0].mean(0) + torch.eye(20)
        product = rows / rows.sum(-1, keepdim=True) @ product
    torch.testing.assert_close(found.attributions[0, 0].flatten(), product[4:, 4:].mean(0))


# What is remembered, and when it is not.


def test_a_part_that_was_exchanged_is_looked_at_anew() -> None:
    def deep() -> nn.Module:
        return nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 4, 3, 2, 1), nn.ReLU())

    model = nn.Sequential(deep(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    assert pellucid.explain(model, images(1)).layers == ("0.3",)
    model[0] = deep()[:2]
    assert pellucid.explain(model, images(1)).layers == ("0.1",)
    model[0] = deep()
    assert pellucid.explain(model, images(1)).layers == ("0.3",)


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

    found = pellucid.explain(seeded(Residual), images(1))
    assert found.layers == ("outer",) or not found.degenerate.any()
    assert found.layers != ("inner",)


@pytest.mark.parametrize("change", ["data", "module", "hook"])
def test_a_private_copy_is_made_anew_when_the_model_changes(change: str) -> None:
    model, batch = seeded(TinyCNN), images(1)
    pellucid.explain(model, batch, runtime=HALF)
    if change == "data":
        for parameter in model.parameters():
            parameter.data.mul_(-2)
    elif change == "module":
        model.features[1] = nn.Tanh()
    else:
        model.fc.register_forward_hook(lambda _m, _i, out: out * 3)
    same(
        pellucid.explain(model, batch, runtime=HALF, layers=["features"]),
        pellucid.explain(copy.deepcopy(model), batch, runtime=HALF, layers=["features"]),
    )


@pytest.mark.parametrize("runtime", [Runtime(), HALF])
def test_a_model_dies_when_its_owner_drops_it(runtime: Runtime) -> None:
    def hooked() -> nn.Module:
        model = seeded(TinyCNN)
        model.fc.register_forward_hook(lambda _m, _i, out: out + 0 * len(model._modules))
        return model

    model = hooked()
    pellucid.explain(model, images(1), runtime=runtime)
    pellucid.recommended_layers(model, (32, 32))
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None


def test_a_model_that_keeps_its_features_can_be_copied() -> None:
    class Keeping(TinyCNN):
        def forward(self, x: Tensor) -> Tensor:
            self.kept = self.features(x)
            return self.fc(self.kept.flatten(2).mean(-1))

    model = seeded(Keeping)
    model(images(1))
    assert pellucid.explain(model, images(1), runtime=HALF).heatmaps.isfinite().all()


def test_channels_last_volumes() -> None:
    model, batch = seeded(TinyCNN, 3), images(1, 3)
    found = pellucid.explain(model, batch, runtime=Runtime(channels_last=True))
    same(found, pellucid.explain(model, batch))


def test_a_model_that_holds_what_cannot_be_copied() -> None:
    model = seeded(TinyCNN)
    model.guard = threading.Lock()
    assert pellucid.explain(model, images(1), runtime=HALF).heatmaps.isfinite().all()


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


def test_every_pass_draws_the_same_numbers() -> None:
    class Random(TinyCNN):
        def forward(self, x: Tensor) -> Tensor:
            return self.fc(F.dropout(self.features(x).flatten(2).mean(-1), 0.5, training=True))

    model, batch = seeded(Random), images(1)
    first = pellucid.explain(model, batch)
    same(pellucid.explain(model, batch), first)
    same(pellucid.explain(model, batch, layers=first.layers), first)
    assert not torch.equal(pellucid.explain(model, batch, runtime=Runtime(seed=1)).logits, first.logits)


def test_the_random_state_is_kept_when_calls_on_different_models_overlap() -> None:
    class Slow(TinyCNN):
        def forward(self, x: Tensor) -> Tensor:
            time.sleep(0.002)
            return super().forward(x)

    models = [Slow() for _ in range(3)]
    state = torch.get_rng_state()
    work = [threading.Thread(target=lambda m=m: [pellucid.explain(m, images(1)) for _ in range(5)]) for m in models]
    for thread in work:
        thread.start()
    for thread in work:
        thread.join()
    assert torch.equal(torch.get_rng_state(), state)


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

    with pytest.raises(OutputError, match=r"B = 1, were expected from the model, got \(2, 4\)"):
        pellucid.explain(seeded(Twice), images(1))


def test_float16_gradients_neither_vanish_nor_overflow() -> None:
    class Scaled(TinyCNN):
        def forward(self, x: Tensor) -> Tensor:
            return 2000 * super().forward(x)

    model, batch = seeded(Scaled), images(2)
    exact = pellucid.explain(model, batch, targets=1)
    half = pellucid.explain(model, batch, targets=1, runtime=Runtime(precision="float16"))
    assert not half.degenerate.any()
    assert torch.corrcoef(torch.stack([exact.heatmaps.flatten(), half.heatmaps.flatten()]))[0, 1] > 0.99


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


@pytest.mark.parametrize("request_", [lambda z: z.detach()[:, 0], lambda z: torch.ones(len(z))])
def test_a_callable_without_a_gradient_is_an_error_of_the_callable(request_) -> None:
    with pytest.raises(TargetError, match="callable target have no gradient"):
        pellucid.explain(seeded(TinyCNN), images(1), targets=request_)


# inference_mode, autocast, TorchScript, NaN.


def test_a_backbone_under_inference_mode() -> None:
    class Inferring(TinyCNN):
        def forward(self, x: Tensor) -> Tensor:
            with torch.inference_mode():
                y = self.features(x)
            return self.fc(y.clone().flatten(2).mean(-1))

    with pytest.raises(GradientError, match="inference_mode"):
        pellucid.explain(seeded(Inferring), images(1), layers=["features.3"])


def test_a_layer_whose_output_is_an_inference_tensor() -> None:
    model = seeded(TinyCNN)
    expected = pellucid.explain(model, images(1), layers=["features"])
    model.features.forward = torch.inference_mode()(model.features.forward)
    same(pellucid.explain(model, images(1), layers=["features"]), expected)


def test_a_buffer_made_under_inference_mode() -> None:
    class Shifted(TinyCNN):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * self.shift

    model = seeded(Shifted)
    with torch.inference_mode():
        model.register_buffer("shift", torch.full((4,), 2.0))
    assert not pellucid.explain(model, images(1), targets=1).degenerate.any()


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
