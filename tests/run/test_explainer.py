"""``Explainer``: the options of ``explain``, given beforehand, and the runtime that it takes."""

from __future__ import annotations

import inspect
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

import pellucid
from tests.networks import TinyCNN, TinyViT, images, seeded
from tests.run.explaining import same


def correlation(one: Tensor, other: Tensor) -> float:
    return float(torch.corrcoef(torch.stack([one.flatten().float(), other.flatten().float()]))[0, 1])


@pytest.fixture
def model() -> nn.Module:
    return seeded(TinyCNN).eval()


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize("kind", [TinyCNN, TinyViT])
def test_half_precision_is_close(kind: type[nn.Module], precision: str) -> None:
    model = seeded(kind).eval()
    layers = pellucid.recommended_layers(model, (32, 32))
    exact = pellucid.explain(model, images(3), "hirescam", "all", layers=layers)
    half = pellucid.explain(
        model, images(3), "hirescam", "all", layers=layers, runtime=pellucid.Runtime(precision=precision)
    )
    assert half.heatmaps.dtype == half.attributions.dtype == half.logits.dtype == torch.float32
    assert not torch.equal(half.logits, exact.logits)
    assert correlation(half.attributions, exact.attributions) > 0.98
    assert half.provenance["runtime"]["precision"] == precision
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


@pytest.mark.parametrize("runtime", [{"precision": "bfloat16"}, {"channels_last": True}])
def test_the_copy_follows_the_weights(model: nn.Module, runtime: Mapping[str, object]) -> None:
    explainer = pellucid.Explainer(model, runtime=pellucid.Runtime(**runtime))
    first = explainer(images(2), 1)
    same(explainer(images(2), 1), first)
    with torch.no_grad():
        model.fc.weight.mul_(-3)
    changed = explainer(images(2), 1)
    assert (changed.logits - first.logits).abs().max() > 0.1
    torch.testing.assert_close(changed.logits, model(images(2)).detach(), rtol=0.05, atol=0.05)
    model.features[3].running_mean.add_(1)
    assert (explainer(images(2), 1).logits - changed.logits).abs().max() > 0.01


def test_channels_last_is_the_same(model: nn.Module) -> None:
    fast = pellucid.explain(model, images(2), targets="all", runtime=pellucid.Runtime(channels_last=True))
    same(fast, pellucid.explain(model, images(2), targets="all"))
    assert all(p.is_contiguous() for p in model.parameters())


def test_positions_past_the_targets_are_deprecated() -> None:
    model, batch = seeded(TinyCNN), images(2)
    wanted = pellucid.explain(model, batch, "gradcam", 1, layers=["features.0"], fuse="max")
    with pytest.warns(DeprecationWarning, match=r"explain takes layers=, fuse= by keyword") as caught:
        found = pellucid.explain(model, batch, "gradcam", 1, ["features.0"], "max")
    assert caught[0].filename == __file__
    assert found.layers == wanted.layers
    assert found.heatmaps.equal(wanted.heatmaps)
    with pytest.warns(DeprecationWarning, match=r"Explainer takes layers= by keyword") as caught:
        explainer = pellucid.Explainer(model, "gradcam", ["features.0"])
    assert caught[0].filename == __file__
    assert explainer == pellucid.Explainer(model, "gradcam", layers=["features.0"])


def test_explain_explainer_and_the_command_line_have_one_order() -> None:
    from pellucid.cli.explain import explain as command

    signature = inspect.signature(pellucid.explain).parameters
    assert list(signature)[:4] == ["model", "images", "method", "targets"]
    keywords = [name for name, one in signature.items() if one.kind is inspect.Parameter.KEYWORD_ONLY]
    assert keywords == list(signature)[4:]
    explainer = inspect.signature(pellucid.Explainer).parameters
    assert list(explainer) == ["model", "method", *keywords]
    assert [name for name, one in explainer.items() if one.kind is inspect.Parameter.KEYWORD_ONLY] == keywords
    # Options that are repeated or take one value; and --output, which is the folder of the results.
    names = {"layer": "layers", "target": "targets", "model_output": "output", "output": "folder"}
    options = [names.get(name, name) for name in inspect.signature(command).parameters]
    shared = [name for name in options if name in signature]
    assert shared == [name for name in signature if name in shared]
    assert {"method", "targets", "layers", "fuse", "classes", "head", "output"} <= set(shared)
