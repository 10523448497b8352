"""From a method's attributions to an explanation: maps that show nothing, and what is no map."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

import pellucid
from pellucid.core.attribution import Attribution
from pellucid.errors import ShapeError
from pellucid.methods.gradcam import GradCAM
from tests.networks import TinyCNN, images, seeded
from tests.run.explaining import EXACT, THREE


@pytest.fixture
def model() -> nn.Module:
    return seeded(TinyCNN).eval()


def test_an_image_that_is_no_number(model: nn.Module) -> None:
    batch = images(3)
    batch[1, 0, 3, 3] = float("nan")
    for method in ("gradcam", "gradcam++", "hirescam"):
        found = pellucid.explain(model, batch, method, 1)
        assert found.heatmaps.isfinite().all()
        assert found.degenerate.tolist()[1] == [True]
        assert found.why_degenerate[1] == ("not finite",)
        assert not found.heatmaps[1].any()
        kept = [0, 2]
        torch.testing.assert_close(
            found.heatmaps[kept], pellucid.explain(model, batch[kept], method, 1).heatmaps, **EXACT
        )


def test_nothing_speaks_for_the_class(model: nn.Module) -> None:
    with torch.no_grad():
        model.fc.weight.abs_().neg_()
    found = pellucid.explain(model, images(2), targets=1)
    assert found.why_degenerate == (("all evidence negative",),) * 2
    assert not found.heatmaps.any()


def test_nothing_tells_positions_apart(model: nn.Module) -> None:
    with torch.no_grad():
        model.fc.weight.zero_()
    for layers in (None, THREE):
        found = pellucid.explain(model, images(1), targets=1, layers=layers)
        assert found.why_degenerate == (("constant",),)
        assert found.degenerate.all()
        assert not found.heatmaps.any()


def test_maps_of_channels_are_not_taken_for_maps_of_classes() -> None:
    @dataclass(frozen=True)
    class Wrong(GradCAM):
        def attribute(self, probe, targets):
            activations, gradients = probe.activations_and_gradients(targets)
            return Attribution((activations * gradients).sum(dim=1))

    with pytest.raises(pellucid.PellucidError, match=r"returned maps \(2, 12, 8, 8\); .* 2 images and 1 classes"):
        pellucid.explain(seeded(TinyCNN), images(2), method=Wrong(), targets=1)


ATTRIBUTION = "an Attribution of a tensor (images, classes, *grid) was expected: return Attribution(maps)"


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (lambda products: products.sum(dim=2), f"returned Tensor; {ATTRIBUTION}"),
        (lambda products: None, f"returned NoneType; {ATTRIBUTION}"),
        (
            lambda products: Attribution(products.sum(dim=2).numpy()),
            f"returned an Attribution of ndarray; {ATTRIBUTION}",
        ),
        (
            Attribution,
            "returned maps (2, 1, 12, 8, 8); (images, classes, *grid) with 2 images and 1 classes, on a grid",
        ),
        (lambda products: Attribution(products.sum(dim=(2, 3))), "returned maps (2, 1, 8); (images, classes, *grid)"),
    ],
)
def test_a_method_that_returns_no_maps_is_refused(returned: Callable[[Tensor], object], message: str) -> None:
    @dataclass(frozen=True)
    class Wrong(GradCAM):
        def attribute(self, probe, targets):
            activations, gradients = probe.activations_and_gradients(targets)
            return returned(activations * gradients)

    with pytest.raises(ShapeError) as caught:
        pellucid.explain(seeded(TinyCNN), images(2), method=Wrong(), targets=1)
    assert str(caught.value).startswith(f"method 'gradcam' {message}")
