"""Replicas of methods that take the score's gradient at the image."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn

from tests.replicas.naive import REPLICAS, Target, interpolated, min_max_scaled, on_grid, positions, replica, score


def gradient(model: nn.Module, image: Tensor, target: Target) -> Tensor:
    """The score's gradient with respect to the image, (C, *space)."""
    leaf = image.clone().requires_grad_()
    with torch.enable_grad():
        value = score(model, leaf, target)
    return torch.autograd.grad(value, leaf)[0]


def largest(values: Tensor) -> Tensor:
    """The largest magnitude over the channels of (C, *space)."""
    result = torch.zeros(values.shape[1:], dtype=values.dtype)
    for p in positions(result.shape):
        result[p] = max(abs(float(channel[p])) for channel in values)
    return result


def summed(values: Tensor) -> Tensor:
    """The sum over the channels of (C, *space)."""
    result = torch.zeros(values.shape[1:], dtype=values.dtype)
    for channel in values:
        result = result + channel
    return result


@replica("saliency")
def saliency(model: nn.Module, image: Tensor, target: Target, layer: str) -> Tensor:
    """Simonyan et al. 2013: max over channels of |∂z/∂x|."""
    return largest(gradient(model, image, target))


@replica("input_x_gradient")
def input_x_gradient(model: nn.Module, image: Tensor, target: Target, layer: str) -> Tensor:
    """Shrikumar et al. 2016: x ⊙ ∂z/∂x, summed over channels."""
    return summed(image * gradient(model, image, target))


@replica("integrated_gradients")
def integrated_gradients(
    model: nn.Module, image: Tensor, target: Target, layer: str, steps: int = 32, baseline: float = 0.0
) -> Tensor:
    """Sundararajan et al. 2017: (x − b) ⊙ the mean gradient at the middles of equal steps from b to x."""
    difference = image - baseline
    total = torch.zeros_like(image)
    for i in range(1, steps + 1):
        total = total + gradient(model, baseline + (i - 0.5) / steps * difference, target)
    return summed(difference * total / steps)


class GuidedGradient(torch.autograd.Function):
    """An activation function whose gradient is its slope times the positive part of the incoming gradient."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor, y: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(slope)
        return y.clone()

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, back: Tensor) -> tuple[Tensor, None, None]:
        (slope,) = ctx.saved_tensors
        return torch.where(back > 0, back, 0.0) * slope, None, None


class GuidedReLU(nn.Module):
    """A ReLU with the guided gradient."""

    def forward(self, x: Tensor) -> Tensor:
        slope = (x.detach() > 0).to(x.dtype)
        return GuidedGradient.apply(x, x.detach() * slope, slope)


class GuidedGELU(nn.Module):
    """A GELU x Φ(x) with the guided gradient; its slope is Φ(x) + x φ(x)."""

    def forward(self, x: Tensor) -> Tensor:
        values = x.detach()
        cumulative = 0.5 * (1 + torch.erf(values / math.sqrt(2)))
        density = torch.exp(-(values**2) / 2) / math.sqrt(2 * math.pi)
        return GuidedGradient.apply(x, values * cumulative, cumulative + values * density)


def guided(model: nn.Module) -> nn.Module:
    """A copy of the network with guided activation functions."""
    model = copy.deepcopy(model)
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.ReLU):
                setattr(parent, name, GuidedReLU())
            if isinstance(child, nn.GELU):
                setattr(parent, name, GuidedGELU())
    return model


@replica("guided_backprop")
def guided_backprop(model: nn.Module, image: Tensor, target: Target, layer: str) -> Tensor:
    """Springenberg et al. 2014: saliency through activation functions that pass positive gradients only."""
    return largest(gradient(guided(model), image, target))


@replica("guided_gradcam")
def guided_gradcam(model: nn.Module, image: Tensor, target: Target, layer: str) -> Tensor:
    """Selvaraju et al. 2017: the resized Grad-CAM times the guided gradient, max over channels."""
    coarse = interpolated(REPLICAS["gradcam"](model, image, target, layer), image.shape[1:])
    return largest(coarse * gradient(guided(model), image, target))


@replica("fullgrad")
def fullgrad(model: nn.Module, image: Tensor, target: Target, layer: str) -> Tensor:
    """Srinivas & Fleuret 2019: |x ⊙ ∂z/∂x| and each layer's |b ⊙ ∂z/∂b|, all scaled, resized and added."""
    of_image, of_biases = full_gradients(model, image, target)
    result = summed(min_max_scaled(of_image.abs()))
    for one in of_biases:
        if one.ndim > 1:  # else the layer has no spatial positions, as the last linear one
            scaled = min_max_scaled(on_grid(model, one).abs())
            result = result + interpolated(summed(scaled), image.shape[1:])
    return result


def full_gradients(model: nn.Module, image: Tensor, target: Target) -> tuple[Tensor, list[Tensor]]:
    """The image times its gradient, and each layer's bias times the gradient at its output.

    A layer's bias is its output for an input of zeros: that of a batch norm in eval mode contains the running mean.
    """
    outputs: list[Tensor] = []
    biases: list[Tensor] = []
    leaves = [
        module for module in model.modules() if list(module.parameters(recurse=False)) and hasattr(module, "bias")
    ]

    def keep(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
        outputs.append(output)
        biases.append(type(module).forward(module, torch.zeros_like(inputs[0])).detach())
        return output.clone()  # a ReLU after it may work in place

    handles = [module.register_forward_hook(keep) for module in leaves]
    leaf = image.clone().requires_grad_()
    try:
        with torch.enable_grad():
            value = score(model, leaf, target)
    finally:
        for handle in handles:
            handle.remove()
    at_image, *gradients = torch.autograd.grad(value, [leaf, *outputs])
    return at_image * image, [(b * g)[0] for b, g in zip(biases, gradients, strict=True)]
