"""``Runtime.precision``: half precision on a private copy, close to what float32 shows."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import pellucid
from pellucid.errors import OptionError
from tests.contract.test_methods import METHODS, OF_THE_GRADIENT, PERTURBING, few, kinds, network
from tests.networks import TinyCNN, TinyViT, images, seeded

CASES = [
    (name, kind, precision)
    for name in METHODS
    if name not in PERTURBING
    for kind in kinds(name)
    for precision in (["float16"] if kind is TinyViT else ["bfloat16", "float16"])
]
HALVES = pytest.mark.parametrize("precision", ["bfloat16", "float16"])


def explained(model: nn.Module, name: str, precision: str | None, batch: Tensor) -> pellucid.Explanation:
    return pellucid.explain(model, batch, few(name), 3, runtime=pellucid.Runtime(precision=precision))


def correlation(one: Tensor, other: Tensor) -> float:
    return float(torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1])


@pytest.mark.parametrize(("name", "kind", "precision"), CASES, ids=str)
def test_maps_are_close_to_those_of_float32(name: str, kind: type[nn.Module], precision: str) -> None:
    model, batch = network(kind), images(2)
    half, exact = explained(model, name, precision, batch), explained(model, name, None, batch)
    assert half.heatmaps.dtype == half.attributions.dtype == half.logits.dtype == torch.float32
    assert half.attributions.isfinite().all()
    assert half.why_degenerate == exact.why_degenerate
    assert not torch.equal(half.logits, exact.logits)
    assert torch.allclose(half.logits, exact.logits, rtol=0.05, atol=0.05)
    assert {tensor.dtype for tensor in model.parameters()} == {torch.float32}
    for one, other in zip(half.heatmaps, exact.heatmaps, strict=True):
        assert correlation(one, other) > 0.9


@HALVES
@pytest.mark.parametrize("name", sorted(PERTURBING))
def test_perturbed_images_give_finite_maps(name: str, precision: str) -> None:
    found = explained(network(TinyCNN), name, precision, images(2))
    assert found.attributions.isfinite().all()
    assert not found.degenerate.any()


@pytest.mark.parametrize("precision", ["float32", None])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_half_precision_model_may_be_explained_in_float32(dtype: torch.dtype, precision: str | None) -> None:
    model, batch = seeded(TinyCNN).eval(), images(2)
    rounded = seeded(TinyCNN).eval().to(dtype).float()
    found = explained(model.to(dtype), "gradcam", precision, batch)
    exact = explained(rounded, "gradcam", None, batch)
    assert {tensor.dtype for tensor in model.parameters()} == {dtype}
    same = precision == "float32"
    assert torch.allclose(found.logits, exact.logits, rtol=1e-5, atol=1e-5) == same
    assert found.provenance["runtime"]["precision"] == precision


@HALVES
def test_half_precision_images_are_taken_by_a_float32_model(precision: str) -> None:
    model, batch = seeded(TinyCNN).eval(), images(2).to(getattr(torch, precision))
    found = explained(model, "gradcam", None, batch)
    torch.testing.assert_close(found.attributions, explained(model, "gradcam", None, batch.float()).attributions)
    assert batch.dtype == getattr(torch, precision)


@HALVES
@pytest.mark.parametrize("factor", [1e-3, 1e3])
@pytest.mark.parametrize("kind", [TinyCNN, TinyViT])
def test_small_and_large_gradients_survive(kind: type[nn.Module], factor: float, precision: str) -> None:
    """The class's weights times a factor: half precision's range is left and entered again."""
    model, batch = seeded(kind).eval(), images(2)
    last = model.fc if kind is TinyCNN else model.head
    with torch.no_grad():
        for parameter in last.parameters():
            parameter.mul_(factor)
    for name in ("gradcam", "hirescam", "saliency"):
        half, exact = explained(model, name, precision, batch), explained(model, name, None, batch)
        assert half.attributions.isfinite().all()
        for one, other in zip(half.attributions, exact.attributions, strict=True):
            assert correlation(one, other) > (0.9 if name in OF_THE_GRADIENT else 0.98)
            torch.testing.assert_close(one.abs().amax(), other.abs().amax(), rtol=0.1, atol=0)


@HALVES
def test_volumes(precision: str) -> None:
    model, batch = seeded(TinyCNN, 3).eval(), images(1, 3, 16)
    for name in ("gradcam", "input_x_gradient"):
        half, exact = explained(model, name, precision, batch), explained(model, name, None, batch)
        assert correlation(half.heatmaps, exact.heatmaps) > 0.9


@pytest.mark.parametrize("precision", ["half", "fp16", "float64", torch.float16, 16])
def test_precisions_that_are_none(precision: object) -> None:
    with pytest.raises(OptionError) as error:
        pellucid.Runtime(precision=precision)
    assert str(error.value) == f"precision {precision!r} was asked for; there are float32, bfloat16, float16, auto"
