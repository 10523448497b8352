"""Replicas of class activation maps: a weighted sum of a layer's channels."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from tests.replicas.naive import (
    Target,
    interpolated,
    is_rectified,
    min_max_scaled,
    output_and_gradient,
    positions,
    replica,
    score,
    target_score,
)

CAM = Callable[..., tuple[Tensor, Tensor]]
CAMS: dict[str, CAM] = {}
"""(model, image, target, layer, **options) → weights and channels, (C, *grid) each, whose products are summed."""


def cam(name: str, positive: bool = True) -> Callable[[CAM], CAM]:
    """Register a class activation map, and as its replica the sum over channels, after a ReLU where ``positive``."""

    def register(function: CAM) -> CAM:
        CAMS[name] = function

        @replica(name)
        def summed(model: nn.Module, image: Tensor, target: Target, layer: str, **options: object) -> Tensor:
            weights, channels = function(model, image, target, layer, **options)
            result = torch.zeros(channels.shape[1:], dtype=channels.dtype)
            for c in range(len(channels)):
                for p in positions(result.shape):
                    result[p] += weights[c][p] * channels[c][p]
            return result.clamp(min=0) if positive else result

        return function

    return register


def expanded(weights: list[float], channels: Tensor) -> Tensor:
    """One weight for each channel, repeated at all of its positions."""
    return torch.stack([torch.full_like(channel, weight) for weight, channel in zip(weights, channels, strict=True)])


def means(values: Tensor) -> list[float]:
    """Each channel's mean over its positions."""
    return [sum(float(channel[p]) for p in positions(channel.shape)) / channel.numel() for channel in values]


@cam("gradcam")
def gradcam(model: nn.Module, image: Tensor, target: Target, layer: str) -> tuple[Tensor, Tensor]:
    """Selvaraju et al. 2017: w_c is the mean of ∂z/∂A_c over the positions."""
    a, g = output_and_gradient(model, image, target, layer)
    return expanded(means(g), a), a


@cam("gradcam++")
def gradcam_plusplus(model: nn.Module, image: Tensor, target: Target, layer: str) -> tuple[Tensor, Tensor]:
    """Chattopadhyay et al. 2018: w_c = Σ α relu(g) with α = g² / (2 g² + g³ Σ A_c), on A ≥ 0."""
    a, g = output_and_gradient(model, image, target, layer)
    a = a.clamp(min=0)
    weights = []
    for c in range(len(a)):
        total = sum(float(a[c][p]) for p in positions(a.shape[1:]))
        weight = 0.0
        for p in positions(a.shape[1:]):
            d = float(g[c][p])
            if d > 0:  # eq. 19, and the ReLU of eq. 5
                weight += d**2 / (2 * d**2 + total * d**3) * d
        weights.append(weight)
    return expanded(weights, a), a


@cam("hirescam", positive=False)
def hirescam(model: nn.Module, image: Tensor, target: Target, layer: str) -> tuple[Tensor, Tensor]:
    """Draelos & Carin 2020: Σ_c A_c ⊙ ∂z/∂A_c, with its sign."""
    a, g = output_and_gradient(model, image, target, layer)
    return g, a


@cam("layercam")
def layercam(model: nn.Module, image: Tensor, target: Target, layer: str) -> tuple[Tensor, Tensor]:
    """Jiang et al. 2021: each position is weighted by the positive part of its own gradient."""
    a, g = output_and_gradient(model, image, target, layer)
    weights = torch.zeros_like(g)
    for p in positions(g.shape):
        if g[p] > 0:  # eq. 5
            weights[p] = g[p]
    return weights, a


@cam("xgradcam")
def xgradcam(model: nn.Module, image: Tensor, target: Target, layer: str) -> tuple[Tensor, Tensor]:
    """Fu et al. 2020: w_c = Σ g A_c / Σ A_c, on A ≥ 0."""
    a, g = output_and_gradient(model, image, target, layer)
    a = a.clamp(min=0)
    weights = []
    for c in range(len(a)):
        total = sum(float(a[c][p]) for p in positions(a.shape[1:]))
        product = sum(float(g[c][p] * a[c][p]) for p in positions(a.shape[1:]))
        weights.append(product / total if total > 0 else 0.0)  # eq. 9
    return expanded(weights, a), a


@cam("finercam")
def finercam(
    model: nn.Module, image: Tensor, target: int, layer: str, alpha: float = 1.0, references: int = 3
) -> tuple[Tensor, Tensor]:
    """Zhang et al. 2025: Grad-CAM of the class's lead over the classes with the nearest logits."""

    def lead(logits: Tensor) -> Tensor:
        others = [d for d in range(len(logits)) if d != target]
        others.sort(key=lambda d: abs(float((logits[d] - logits[target]).detach())))
        nearest = others[:references]
        total = sum(torch.exp(logits[d]) for d in nearest)
        return sum(torch.exp(logits[d]) / total * (logits[target] - alpha * logits[d]) for d in nearest)

    return gradcam(model, image, lead, layer)


@cam("shapleycam")
def shapleycam(model: nn.Module, image: Tensor, target: Target, layer: str) -> tuple[Tensor, Tensor]:
    """Cai 2025: the means of g − H A / 2, with H A from finite differences of g along A, all tokens included."""
    a, g = output_and_gradient(model, image, target, layer)
    step = 1e-5
    above = output_and_gradient(model, image, target, layer, 1 + step)[1]
    below = output_and_gradient(model, image, target, layer, 1 - step)[1]
    product = (above - below) / (2 * step)
    weights = [first - second / 2 for first, second in zip(means(g), means(product), strict=True)]
    return expanded(weights, a), a


@cam("scorecam")
def scorecam(model: nn.Module, image: Tensor, target: Target, layer: str) -> tuple[Tensor, Tensor]:
    """Wang et al. 2020: softmax over channels of the score of image ⊙ channel, less that of an image of zeros."""
    a, _ = output_and_gradient(model, image, target, layer)
    with torch.no_grad():
        baseline = float(score(model, torch.zeros_like(image), target))
        masks = [min_max_scaled(interpolated(channel, image.shape[1:])) for channel in a]
        rises = [float(score(model, image * mask, target)) - baseline for mask in masks]
    powers = [math.exp(rise) for rise in rises]
    positive = torch.where(a > 0, a, 0.0)
    return expanded([power / sum(powers) for power in powers], a), positive


@cam("ablationcam")
def ablationcam(model: nn.Module, image: Tensor, target: Target, layer: str) -> tuple[Tensor, Tensor]:
    """Desai & Ramaswamy 2020: w_c is how far the score falls if channel c is 0."""
    a, _ = output_and_gradient(model, image, target, layer)
    with torch.no_grad():
        clean = float(score(model, image, target))
        weights = [clean - score_without(model, image, target, layer, c) for c in range(len(a))]
    return expanded(weights, a), a


def score_without(model: nn.Module, image: Tensor, target: Target, layer: str, channel: int) -> float:
    """The score where a channel of the layer is 0 at all positions; class tokens keep theirs."""

    def ablate(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        output = output.clone()
        if output.ndim == 3:
            output[:, model.prefix :, channel] = 0
        else:
            output[:, channel] = 0
        return output

    handle = dict(model.named_modules())[layer].register_forward_hook(ablate)
    try:
        return float(target_score(model(image[None].clone())[0], target))
    finally:
        handle.remove()


@replica("gradcam-elementwise")
def gradcam_elementwise(model: nn.Module, image: Tensor, target: Target, layer: str) -> Tensor:
    """Gildenblat 2021: Σ_c relu(A_c ⊙ ∂z/∂A_c), position by position."""
    a, g = output_and_gradient(model, image, target, layer)
    result = torch.zeros(a.shape[1:], dtype=a.dtype)
    for c in range(len(a)):
        for p in positions(result.shape):
            result[p] += max(float(g[c][p] * a[c][p]), 0.0)
    return result


@replica("eigencam")
def eigencam(model: nn.Module, image: Tensor, target: Target, layer: str) -> Tensor:
    """Muhammad & Yeasin 2020: the channels' projection onto their first right singular vector."""
    a, _ = output_and_gradient(model, image, target, layer)
    return first_component(a.clamp(min=0) if is_rectified(model, image, layer) else a)


@replica("eigengradcam")
def eigengradcam(model: nn.Module, image: Tensor, target: Target, layer: str) -> Tensor:
    """The same projection of the products A ⊙ ∂z/∂A."""
    a, g = output_and_gradient(model, image, target, layer)
    return first_component(g * a)


def first_component(channels: Tensor) -> Tensor:
    """X v₁ of channels (C, *grid) as X (positions, C). It equals σ₁ u₁, here from the eigenvectors u of X Xᵀ."""
    x = channels.numpy().reshape(len(channels), -1).T
    eigenvalues, eigenvectors = np.linalg.eigh(x @ x.T)
    projection = eigenvectors[:, -1] * math.sqrt(max(eigenvalues[-1], 0.0))
    return torch.from_numpy(with_sign(projection, x)).reshape(channels.shape[1:])


def with_sign(projection: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The projection with the sign that correlates with the channels' mean.

    Where the mean varies by less than 1 % of the channels' root mean square, the largest magnitude is positive.
    """
    mean = x.mean(axis=1)
    if mean.std() > 0.01 * math.sqrt((x**2).mean()):
        return projection if np.cov(projection, mean)[0, 1] >= 0 else -projection
    return projection if projection[np.abs(projection).argmax()] >= 0 else -projection
