"""A compiled network gives the maps of the one that is written, for whatever is asked of it."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest
import timm
import torch
from torch import nn

import pellucid
from pellucid.core.torch_private import compiling_for_gradients
from pellucid.errors import GradientError, OptionError
from pellucid.models.engine import Pass, compiled
from pellucid.models.session.session import Session
from tests.networks import TinyCNN, TinyViT, images, seeded

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
COMPILED = pellucid.Runtime(compile=True)


def convnext() -> nn.Module:
    """Layer norms over the channels, and a layer that returns channels last within its blocks."""
    return timm.create_model("convnext_atto", depths=(1, 1, 1, 1), dims=(8, 12, 16, 20), num_classes=4)


class Residual(nn.Module):
    """A layer whose output is rewritten in place by what comes after, and added to itself before."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.block = nn.Sequential(nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3, padding=1))
        self.last = nn.BatchNorm2d(8)
        self.fc = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        x = self.stem(x)
        x = torch.relu_(self.last(x + self.block(x)))
        return {"logits": self.fc(x.mean((2, 3)))}


NETWORKS = {"cnn": TinyCNN, "vit": TinyViT, "convnext": convnext, "residual": Residual}


def alike(one: pellucid.Explanation, other: pellucid.Explanation) -> None:
    assert one.layers == other.layers
    torch.testing.assert_close(one.logits, other.logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(one.attributions, other.attributions, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(one.heatmaps, other.heatmaps, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", NETWORKS)
def test_maps_are_those_of_the_network_as_it_is_written(name: str) -> None:
    model, batch = seeded(NETWORKS[name]).eval(), images(3)
    alike(pellucid.explain(model, batch, runtime=COMPILED), pellucid.explain(model, batch))
    alike(
        pellucid.explain(model, batch, targets="all", runtime=COMPILED),
        pellucid.explain(model, batch, targets="all"),
    )


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list that gets an item for each program that is compiled."""
    made: list[int] = []
    program = compiled.Program
    monkeypatch.setattr(compiled, "Program", lambda: made.append(1) or program())
    return made


def test_one_program_serves_one_class_and_all(monkeypatch: pytest.MonkeyPatch) -> None:
    made, model, batch = counted(monkeypatch), seeded(TinyCNN).eval(), images(3)
    pellucid.explain(model, batch, runtime=COMPILED)
    pellucid.explain(model, batch, targets="all", runtime=COMPILED)
    assert made == [1]


def test_several_layers() -> None:
    model, batch = seeded(TinyCNN).eval(), images(2)
    layers = ["features.1", "features.3"]
    fused = pellucid.explain(model, batch, layers=layers, runtime=COMPILED)
    plain = pellucid.explain(model, batch, layers=layers)
    alike(fused, plain)
    for layer in layers:
        alike(fused.by_layer[layer], plain.by_layer[layer])


@pytest.mark.parametrize("method", ["scorecam", "eigencam", "shapleycam", "saliency", "ablationcam", "gradcam++"])
def test_methods_that_ask_for_other_things(method: str) -> None:
    model, batch = seeded(TinyCNN).eval(), images(2)
    alike(
        pellucid.explain(model, batch, method, targets=1, runtime=COMPILED),
        pellucid.explain(model, batch, method, targets=1),
    )


def test_attention_is_read_off_the_network_as_it_is_written() -> None:
    model, batch = seeded(TinyViT).eval(), images(2)
    for method in ("rollout", "gradient_rollout"):
        alike(
            pellucid.explain(model, batch, method, targets=1, runtime=COMPILED),
            pellucid.explain(model, batch, method, targets=1),
        )


def test_smaller_batches_are_filled_up(monkeypatch: pytest.MonkeyPatch) -> None:
    made, model, batch = counted(monkeypatch), seeded(TinyViT).eval(), images(7)
    runtime = pellucid.Runtime(compile=True, batch_size=3)
    alike(pellucid.explain(model, batch, runtime=runtime), pellucid.explain(model, batch))
    assert made == [1]


def test_no_more_images_than_asked_for_are_run(monkeypatch: pytest.MonkeyPatch) -> None:
    made, model = counted(monkeypatch), seeded(TinyCNN).eval()
    explaining = pellucid.explain(model, images(4), runtime=pellucid.Runtime(batch_size=4, compile=True))
    smaller = pellucid.explain(model, images(4), runtime=pellucid.Runtime(batch_size=2, compile=True))
    alike(smaller, explaining)
    assert len(made) == 2  # 4 may have been too many


def test_a_halved_batch_is_not_filled_up_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where four images did not fit into memory, two are not to be run as four."""
    made, session = counted(monkeypatch), Session.of(seeded(TinyCNN).eval(), COMPILED)
    plain = Pass.of(session, images(4))
    assert plain.scores().shape == (4, 4)
    halved = replace(plain.on(images(2)), batch_size=2)
    assert halved.scores().shape == (2, 4)
    assert len(made) == 2


def test_two_networks_of_a_kind_are_not_mixed_up() -> None:
    one, other, batch = seeded(TinyCNN).eval(), seeded(TinyCNN).eval(), images(2)
    with torch.no_grad():
        other.features[2].weight.neg_()
    for model in (one, other, one):
        alike(pellucid.explain(model, batch, runtime=COMPILED), pellucid.explain(model, batch))


def test_changed_weights_are_noticed() -> None:
    model, batch = seeded(TinyCNN).eval(), images(2)
    pellucid.explain(model, batch, runtime=COMPILED)
    with torch.no_grad():
        model.fc.weight.copy_(model.fc.weight.flip(0))
        model.features[3].running_mean.add_(0.1)
    alike(pellucid.explain(model, batch, runtime=COMPILED), pellucid.explain(model, batch))


def test_the_model_and_its_plain_use_are_left_alone() -> None:
    model, batch = seeded(TinyCNN), images(2)
    model.train()
    needing = [parameter.requires_grad for parameter in model.parameters()]
    pellucid.explain(model, batch, runtime=COMPILED)
    assert model.training
    assert [parameter.requires_grad for parameter in model.parameters()] == needing
    assert not any(module._forward_hooks for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_half_precision_and_channels_last() -> None:
    model, batch = seeded(TinyCNN).eval(), images(4)
    wanted = pellucid.explain(model, batch, targets=2)
    runtime = pellucid.Runtime(precision="bfloat16", channels_last=True, compile=True)
    found = pellucid.explain(model, batch, targets=2, runtime=runtime)
    for one, other in zip(found.heatmaps[:, 0], wanted.heatmaps[:, 0], strict=True):
        assert torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1] > 0.99


def test_a_network_with_a_no_grad_of_its_own() -> None:
    class Closed(TinyCNN):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            with torch.no_grad():
                x = self.features(x)
            return self.fc(x.flatten(2).mean(-1))

    model, batch = seeded(Closed).eval(), images(2)
    alike(pellucid.explain(model, batch, runtime=COMPILED), pellucid.explain(model, batch))


def test_what_cannot_be_compiled_is_told() -> None:
    class Deciding(TinyCNN):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            logits = super().forward(x)
            return logits if float(logits.detach().sum()) > 0 else -logits

    with pytest.raises(OptionError, match="cannot be compiled as a whole") as caught:
        pellucid.explain(seeded(Deciding).eval(), images(1), runtime=COMPILED)
    assert "\n" not in str(caught.value)


def test_what_a_compiler_fails_at_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ValueError("no such processor\nand more")

    monkeypatch.setattr("torch._inductor.compile_fx.compile_fx", fail)
    with pytest.raises(
        OptionError, match=r"cannot be compiled as a whole \(.*: ValueError: no such processor\): leave"
    ):
        pellucid.explain(seeded(TinyCNN).eval(), images(1), runtime=COMPILED)


def test_a_layer_that_runs_twice_is_not_compiled() -> None:
    class Twice(TinyCNN):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.features[:2](x)
            x = self.same(self.same(x))
            return self.fc(self.features[2:](x).flatten(2).mean(-1))

    model = seeded(Twice)
    model.same = nn.Conv2d(8, 8, 1)
    alike(
        pellucid.explain(model.eval(), images(1), layers=["same"], runtime=COMPILED),
        pellucid.explain(model, images(1), layers=["same"]),
    )
    session = Session.of(model, COMPILED)
    with pytest.raises(OptionError, match="runs more than once"):
        Pass.of(session, images(1), ["same"]).activations()


def test_all_classes_at_an_early_layer() -> None:
    model, batch = seeded(TinyViT).eval(), images(2)
    alike(
        pellucid.explain(model, batch, targets="all", layers=["blocks.0"], runtime=COMPILED),
        pellucid.explain(model, batch, targets="all", layers=["blocks.0"]),
    )


def test_many_networks_are_compiled() -> None:
    batch = images(1)
    with torch._dynamo.config.patch(recompile_limit=1):  # what may be kept by one function's code
        for classes in (3, 4, 5):
            model = seeded(TinyCNN, 2, classes).eval()
            alike(pellucid.explain(model, batch, runtime=COMPILED), pellucid.explain(model, batch))


class Attending(nn.Module):
    """PyTorch's own attention, whose projections multiply images that lie across one another."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 8, stride=8)
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.fc = nn.Linear(16, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x).flatten(2).transpose(1, 2)
        return self.fc((x + self.attention(x, x, x, need_weights=False)[0]).mean(1))


def test_weights_are_not_copied_for_each_image() -> None:
    model, batch = seeded(Attending).eval(), images(3)
    alike(pellucid.explain(model, batch, runtime=COMPILED), pellucid.explain(model, batch))
    home = torch._decomp.decompositions
    usual = getattr(home, "should_fold", None)
    if usual is not None:
        across, weight = torch.empty(2, 3, 4).transpose(0, 1), torch.empty(4, 5)
        assert not usual(across, weight, False)
        with compiling_for_gradients():
            assert home.should_fold(across, weight, False)
            assert not home.should_fold(across, across.transpose(1, 2), False)
        assert home.should_fold is usual


def test_a_layer_that_is_not_run_is_refused_alike() -> None:
    model = seeded(TinyCNN)
    model.spare = nn.Conv2d(3, 8, 3)
    errors = []
    for runtime in (COMPILED, pellucid.Runtime()):
        with pytest.raises(GradientError) as caught:
            pellucid.explain(model.eval(), images(1), layers=["spare"], runtime=runtime)
        errors.append(str(caught.value))
    assert errors[0] == errors[1]
