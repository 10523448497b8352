"""Replicas of class activation maps: a weighted sum of a layer's channels."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from tests.replicas.naive import Target, chosen, interpolated, is_rectified, places, recorded, replica, score, stretched

Weighing = Callable[..., tuple[Tensor, Tensor]]
WEIGHINGS: dict[str, Weighing] = {}
"""(model, image, target, layer, **options) → the weights (C, *grid) and the channels (C, *grid) that they weigh."""


def weighing(name: str, positive: bool = True) -> Callable[[Weighing], Weighing]:
    """Register a weighing, and as a replica the sum over its channels; ``positive`` for a ReLU at the end."""

    def register(function: Weighing) -> Weighing:
        WEIGHINGS[name] = function

        @replica(name)
        def summed(model: nn.Module, image: Tensor, target: Target, layer: str, **options: object) -> Tensor:
            weights, channels = function(model, image, target, layer, **options)
            result = torch.zeros(channels.shape[1:], dtype=channels.dtype)
            for c in range(len(channels)):
                for p in places(result.shape):
                    result[p] += weights[c][p] * channels[c][p]
            return result.clamp(min=0) if positive else result

        return function

    return register


def everywhere(weights: list[float], channels: Tensor) -> Tensor:
    """One weight per channel, at each of its spatial positions."""
    return torch.stack([torch.full_like(channel, weight) for weight, channel in zip(weights, channels, strict=True)])


def means(values: Tensor) -> list[float]:
    """Each channel's mean over the spatial positions."""
    return [sum(float(channel[p]) for p in places(channel.shape)) / channel.numel() for channel in values]


@weighing("gradcam")
def gradcam(model: nn.Module, image: Tensor, target: Target, layer: str) -> tuple[Tensor, Tensor]:
    a, g = recorded(model, image, target, layer)
    return everywhere(means(g), a), a


@weighing("gradcam++")
def gradcam_plusplus(model: nn.Module, image: Tensor, target: Target, layer: str) -> tuple[Tensor, Tensor]:
    a, g = recorded(model, image, target, layer)
    a = a.clamp(min=0)
    weights = []
    for c in range(len(a)):
        total = sum(float(a[c][p]) for p in places(a.shape[1:]))
        weight = 0.0
        for p in places(a.shape[1:]):
            d = float(g[c][p])
            if d > 0:  # eq. 19, and the ReLU of eq. 5
                weight += d**2 / (2 * d**2 + total * d**3) * d
        weights.append(weight)
    return everywhere(weights, a), a


@weighing("hirescam", positive=False)
def hirescam(model: nn.Module, image: Tensor, target: Target, layer: str) -> tuple[Tensor, Tensor]:
    a, g = recorded(model, image, target, layer)
    return g, a


@weighing("layercam")
def layercam(model: nn.Module, image: Tensor, target: Target, layer: str) -> tuple[Tensor, Tensor]:
    a, g = recorded(model, image, target, layer)
    weights = torch.zeros_like(g)
    for p in places(g.shape):
        if g[p] > 0:  # eq. 5
            weights[p] = g[p]
    return weights, a


@weighing("xgradcam")
def xgradcam(model: nn.Module, image: Tensor, target: Target, layer: str) -> tuple[Tensor, Tensor]:
    a, g = recorded(model, image, target, layer)
    a = a.clamp(min=0)
    weights = []
    for c in range(len(a)):
        total = sum(float(a[c][p]) for p in places(a.shape[1:]))
        product = sum(float(g[c][p] * a[c][p]) for p in places(a.shape[1:]))
        weights.append(product / total if total > 0 else 0.0)  # eq. 9
    return everywhere(weights, a), a


@weighing("finercam")
def finercam(
    model: nn.Module, image: Tensor, target: int, layer: str, alpha: float = 1.0, references: int = 3
) -> tuple[Tensor, Tensor]:
    def lead(logits: Tensor) -> Tensor:
        others = [d for d in range(len(logits)) if d != target]
        others.sort(key=lambda d: abs(float((logits[d] - logits[target]).detach())))
        nearest = others[:references]
        total = sum(torch.exp(logits[d]) for d in nearest)
        return sum(torch.exp(logits[d]) / total * (logits[target] - alpha * logits[d]) for d in nearest)

    return gradcam(model, image, lead, layer)


@weighing("shapleycam")
def shapleycam(model: nn.Module, image: Tensor, target: Target, layer: str) -> tuple[Tensor, Tensor]:
    """The second derivative along the layer's whole output, class token and all, from differences of the first."""
    a, g = recorded(model, image, target, layer)
    step = 1e-5
    above = recorded(model, image, target, layer, 1 + step)[1]
    below = recorded(model, image, target, layer, 1 - step)[1]
    curvature = (above - below) / (2 * step)
    weights = [own - bend / 2 for own, bend in zip(means(g), means(curvature), strict=True)]
    return everywhere(weights, a), a


@weighing("scorecam")
def scorecam(model: nn.Module, image: Tensor, target: Target, layer: str) -> tuple[Tensor, Tensor]:
    a, _ = recorded(model, image, target, layer)
    with torch.no_grad():
        nothing = float(score(model, torch.zeros_like(image), target))
        masks = [stretched(interpolated(channel, image.shape[1:])) for channel in a]
        rises = [float(score(model, image * mask, target)) - nothing for mask in masks]
    powers = [math.exp(rise) for rise in rises]
    positive = torch.where(a > 0, a, 0.0)
    return everywhere([power / sum(powers) for power in powers], a), positive


@weighing("ablationcam")
def ablationcam(model: nn.Module, image: Tensor, target: Target, layer: str) -> tuple[Tensor, Tensor]:
    a, _ = recorded(model, image, target, layer)
    with torch.no_grad():
        whole = float(score(model, image, target))
        weights = [whole - without(model, image, target, layer, c) for c in range(len(a))]
    return everywhere(weights, a), a


def without(model: nn.Module, image: Tensor, target: Target, layer: str, channel: int) -> float:
    """The score if a channel of the layer is 0 at all spatial positions."""

    def ablate(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        output = output.clone()
        if output.ndim == 3:
            output[:, model.prefix :, channel] = 0
        else:
            output[:, channel] = 0
        return output

    handle = dict(model.named_modules())[layer].register_forward_hook(ablate)
    try:
        return float(chosen(model(image[None].clone())[0], target))
    finally:
        handle.remove()


@replica("gradcam-elementwise")
def gradcam_elementwise(model: nn.Module, image: Tensor, target: Target, layer: str) -> Tensor:
    a, g = recorded(model, image, target, layer)
    result = torch.zeros(a.shape[1:], dtype=a.dtype)
    for c in range(len(a)):
        for p in places(result.shape):
            result[p] += max(float(g[c][p] * a[c][p]), 0.0)
    return result


@replica("eigencam")
def eigencam(model: nn.Module, image: Tensor, target: Target, layer: str) -> Tensor:
    a, _ = recorded(model, image, target, layer)
    return first_component(a.clamp(min=0) if is_rectified(model, image, layer) else a)


@replica("eigengradcam")
def eigengradcam(model: nn.Module, image: Tensor, target: Target, layer: str) -> Tensor:
    a, g = recorded(model, image, target, layer)
    return first_component(g * a)


def first_component(channels: Tensor) -> Tensor:
    """X v₁ of (C, *grid), which is u₁ σ₁: from the eigenvectors of X Xᵀ, so without v."""
    x = channels.numpy().reshape(len(channels), -1).T
    eigenvalues, eigenvectors = np.linalg.eigh(x @ x.T)
    projection = eigenvectors[:, -1] * math.sqrt(max(eigenvalues[-1], 0.0))
    return torch.from_numpy(turned(projection, x)).reshape(channels.shape[1:])


def turned(projection: np.ndarray, x: np.ndarray) -> np.ndarray:
    """With the mean over the channels; where that moves by less than 1 % of their size, the largest value above 0."""
    mean = x.mean(axis=1)
    if mean.std() > 0.01 * math.sqrt((x**2).mean()):
        return projection if np.cov(projection, mean)[0, 1] >= 0 else -projection
    return projection if projection[np.abs(projection).argmax()] >= 0 else -projection
