"""Where captum and zennit define a method as this package does, they find the same map."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor, nn

import pellucid
from pellucid.core.method import Method
from pellucid.core.runtime import Runtime
from pellucid.methods.gradcam import GradCAM
from pellucid.methods.guided_backprop import GuidedBackprop
from pellucid.methods.guided_gradcam import GuidedGradCAM
from pellucid.methods.hirescam import HiResCAM
from pellucid.methods.input_x_gradient import InputXGradient
from pellucid.methods.integrated_gradients import IntegratedGradients
from pellucid.methods.occlusion import Occlusion
from pellucid.methods.saliency import Saliency
from pellucid.methods.smoothgrad import SmoothGrad
from pellucid.methods.smoothgrad_squared import SmoothGradSquared
from pellucid.methods.vargrad import VarGrad
from tests.networks import TinyCNN, images, seeded
from tests.replicas.naive import SEED

attr = pytest.importorskip("captum.attr")
zennit_attribution = pytest.importorskip("zennit.attribution")
zennit_composites = pytest.importorskip("zennit.composites")

SIDES = (12, 16)
LAYER = "features.3"
TARGETS = [1, 3]
SAMPLES = 3
NOISE = 0.2


def network(channels: int = 3) -> nn.Module:
    """A model without in-place ReLUs, which the other libraries' hooks do not support."""
    model = seeded(TinyCNN, 2, 4, channels).double().eval()
    for module in model.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    return model


def sample_images(channels: int = 3) -> Tensor:
    return images(2, side=SIDES, channels=channels).double()


def ours(model: nn.Module, batch: Tensor, made: Method) -> Tensor:
    layers = [LAYER] if made.uses_layers else None
    found = pellucid.explain(model, batch, method=made, targets=TARGETS, layers=layers, runtime=Runtime(seed=SEED))
    return found.attributions[:, 0]


@contextmanager
def unwarned() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def assert_same(found: Tensor, expected: Tensor) -> None:
    expected = expected.detach()
    assert expected.max() - expected.min() > 0.01 * expected.abs().max()
    torch.testing.assert_close(found, expected.float(), rtol=1e-5, atol=1e-6 * float(expected.abs().max()))


def largest(values: Tensor) -> Tensor:
    return values.abs().amax(dim=1)


def total(values: Tensor) -> Tensor:
    return values.sum(dim=1)


def captums() -> dict[str, tuple[Method, Callable[[nn.Module, Tensor], Tensor], Callable[[Tensor], Tensor]]]:
    """Our method, captum's map (B, C, *space) for a model and images, and how its channels become one."""

    def layer(model: nn.Module) -> nn.Module:
        return model.get_submodule(LAYER)

    def of(build: Callable[[nn.Module], object], **options: object) -> Callable[[nn.Module, Tensor], Tensor]:
        return lambda model, batch: build(model).attribute(batch, target=TARGETS, **options)

    integral = {"method": "riemann_middle"}
    return {
        "saliency": (Saliency(), of(attr.Saliency), largest),
        "input_x_gradient": (InputXGradient(), of(attr.InputXGradient), total),
        "integrated_gradients": (
            IntegratedGradients(steps=9),
            of(attr.IntegratedGradients, n_steps=9, **integral),
            total,
        ),
        "integrated_gradients from elsewhere": (
            IntegratedGradients(steps=4, baseline=-0.6),
            of(attr.IntegratedGradients, n_steps=4, baselines=-0.6, **integral),
            total,
        ),
        "guided_backprop": (GuidedBackprop(), of(attr.GuidedBackprop), largest),
        "guided_gradcam": (
            GuidedGradCAM(),
            of(lambda model: attr.GuidedGradCam(model, layer(model)), interpolate_mode="bilinear"),
            largest,
        ),
        "gradcam": (
            GradCAM(),
            of(lambda model: attr.LayerGradCam(model, layer(model)), relu_attributions=True),
            total,
        ),
        "hirescam": (HiResCAM(), of(lambda model: attr.LayerGradientXActivation(model, layer(model))), total),
        # Where the last window ends at the border by itself; captum cuts it off there otherwise.
        "occlusion": (
            Occlusion(window=4, stride=2),
            of(attr.Occlusion, sliding_window_shapes=(3, 4, 4), strides=(3, 2, 2)),
            lambda values: values[:, 0],
        ),
        "occlusion with another cover": (
            Occlusion(window=4, stride=4, baseline=1.5),
            of(attr.Occlusion, sliding_window_shapes=(3, 4, 4), strides=(3, 4, 4), baselines=1.5),
            lambda values: values[:, 0],
        ),
    }


@pytest.mark.parametrize("name", captums())
def test_equals_captums(name: str) -> None:
    made, captums_map, reduced = captums()[name]
    model, batch = network(), sample_images()
    with unwarned():
        expected = reduced(captums_map(model, batch))
    assert_same(ours(model, batch, made), expected)


def noise_of(shape: torch.Size) -> Tensor:
    """The noise that our methods draw, for the number of image copies in ``shape``."""
    generator = torch.Generator().manual_seed(SEED)
    return torch.cat([torch.randn((1, *shape[1:]), generator=generator) for _ in range(shape[0])]).double()


@pytest.mark.parametrize(
    ("kind", "made"),
    [
        ("smoothgrad", SmoothGrad(Saliency(), samples=SAMPLES, noise=NOISE)),
        ("smoothgrad_sq", SmoothGradSquared(Saliency(), samples=SAMPLES, noise=NOISE)),
        ("vargrad", VarGrad(Saliency(), samples=SAMPLES, noise=NOISE)),
    ],
)
def test_equals_captums_noise_tunnel(kind: str, made: Method, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one channel, since captum squares before the channels become one."""
    model, batch = network(1), sample_images(1)
    expected = []
    for image, target in zip(batch, TARGETS, strict=True):
        deviation = NOISE * float(image.max() - image.min())
        tunnel = attr.NoiseTunnel(attr.Saliency(model))
        with unwarned(), monkeypatch.context() as patched:
            patched.setattr(torch, "normal", lambda mean, deviations: mean + deviations * noise_of(deviations.shape))
            found = tunnel.attribute(image[None], kind, nt_samples=SAMPLES, stdevs=deviation, target=target)
        expected.append(found[0, 0])
    assert_same(ours(model, batch, made), torch.stack(expected))


def chosen(output: Tensor) -> Tensor:
    """Which outputs zennit is to differentiate."""
    return torch.eye(output.shape[1], dtype=output.dtype)[TARGETS]


@pytest.mark.parametrize(
    ("made", "composite"),
    [(Saliency(), None), (GuidedBackprop(), zennit_composites.GuidedBackprop())],
    ids=["saliency", "guided_backprop"],
)
def test_equals_zennits_gradients(made: Method, composite: object) -> None:
    model, batch = network(), sample_images()
    with unwarned(), zennit_attribution.Gradient(model, composite) as attributor:
        _, gradient = attributor(batch.clone(), chosen)
    assert_same(ours(model, batch, made), largest(gradient))


def test_equals_zennits_integrated_gradients() -> None:
    """zennit takes each step at its end: half a step back, that is its middle."""
    steps, baseline = 8, 0.4
    model, batch = network(), sample_images()
    half = (batch - baseline) / (2 * steps)
    attributor = zennit_attribution.IntegratedGradients(model, baseline_fn=lambda _: baseline - half, n_iter=steps)
    with unwarned(), attributor:
        _, gradient = attributor(batch - half, chosen)
    assert_same(ours(model, batch, IntegratedGradients(steps=steps, baseline=baseline)), total(gradient))


def test_equals_zennits_smoothgrad(monkeypatch: pytest.MonkeyPatch) -> None:
    """zennit takes the mean of signed gradients: of one channel and no negative weight they have one sign."""
    model, batch = network(1), sample_images(1)
    for parameter in model.parameters():
        parameter.data.abs_()
    expected = []
    for image, target in zip(batch, TARGETS, strict=True):
        left = iter(noise_of(torch.Size((SAMPLES, *image.shape))))
        attributor = zennit_attribution.SmoothGrad(model, noise_level=NOISE, n_iter=SAMPLES + 1)
        selected = torch.eye(4, dtype=image.dtype)[[target]]
        with unwarned(), monkeypatch.context() as patched, attributor:
            patched.setattr(torch, "randn_like", lambda _, left=left: next(left)[None])
            _, mean = attributor(image[None].clone(), selected)
        # Its last copy is the clean image.
        clean = zennit_attribution.Gradient(model)(image[None].clone(), selected)[1]
        expected.append((((SAMPLES + 1) * mean - clean) / SAMPLES)[0, 0])
    assert_same(ours(model, batch, SmoothGrad(Saliency(), samples=SAMPLES, noise=NOISE)), torch.stack(expected))
