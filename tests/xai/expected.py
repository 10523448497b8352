"""What the published Grad-CAM must return, by the replicas of ``tests.replicas``: no formula is repeated here."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid.xai import GradCAM, GradCAMPlusPlus
from tests.replicas.naive import REPLICAS, interpolated, min_max_scaled, output_and_gradient

NAMES = {GradCAM: "gradcam", GradCAMPlusPlus: "gradcam++"}


def prepared(model: nn.Module) -> nn.Module:
    """A copy of the model in float64 and eval mode: the replicas change neither."""
    return copy.deepcopy(model).double().eval()


def predicted(model: nn.Module, image: Tensor) -> int:
    """The class with the highest logit for one image (1, C, H, W)."""
    with torch.no_grad():
        return int(prepared(model)(image.double())[0].argmax())


def captured(model: nn.Module, layer: str, image: Tensor, index: int) -> tuple[np.ndarray, np.ndarray]:
    """A layer's output and the gradient of the class's logit there, (C, H, W) each, for one image (1, C, H, W)."""
    activations, gradients = output_and_gradient(prepared(model), image[0].double(), index, layer)
    return activations.numpy(), gradients.numpy()


def replica(
    kind: type[GradCAM],
    model: nn.Module,
    layer: str,
    image: Tensor,
    index: int,
    size: tuple[int, int] | None = None,
    mode: str = "bilinear",
    normalize: bool = True,
    eigen_smooth: bool = False,
) -> np.ndarray:
    """The heatmap (H, W) of one image (1, C, H, W) and class, resized and normalised independently of the adapter."""
    name, options = (NAMES[kind], {}) if not eigen_smooth else ("eigen_smooth", {"method": NAMES[kind]})
    raw = REPLICAS[name](prepared(model), image[0].double(), index, layer, **options)
    resized = _resized(raw, size or tuple(image.shape[-2:]), mode)
    return (min_max_scaled(resized) if normalize else resized).numpy()


def _resized(raw: Tensor, size: tuple[int, int], mode: str) -> Tensor:
    if mode == "bilinear":
        return interpolated(raw, size)
    corners = {} if mode == "nearest" else {"align_corners": False}
    return F.interpolate(raw[None, None], size=size, mode=mode, **corners)[0, 0]


def assert_close(found: np.ndarray, expected: np.ndarray, tolerance: float = 1e-5) -> None:
    """Equal shapes, and values that differ by at most ``tolerance``, or that share of the largest one above 1."""
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * max(1.0, float(np.abs(expected).max())))


def not_constant(heatmap: np.ndarray) -> np.ndarray:
    """The heatmap, once it is known to vary: that two maps of zeros are equal proves nothing."""
    assert heatmap.max() - heatmap.min() > 1e-4
    return heatmap
