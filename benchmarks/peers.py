"""Grad-CAM for class 0 by other libraries, called as they document it: maps (B, H, W) at the images' size.

``make bench`` installs them in an environment of their own; a library that is missing is skipped.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Explain = Callable[[Tensor], Tensor]


def available() -> list[str]:
    """The libraries that are installed."""
    return [name for name, (package, _) in PEERS.items() if find_spec(package)]


def explainer(name: str, model: nn.Module, layer: str) -> Explain:
    """A function that explains a batch at a layer with one of the libraries."""
    return PEERS[name][1](model, layer)


def _grad_cam(model: nn.Module, layer: str) -> Explain:
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    cam: Any = GradCAM(model=model, target_layers=[model.get_submodule(layer)])

    def explain(images: Tensor) -> Tensor:
        return torch.from_numpy(cam(input_tensor=images, targets=[ClassifierOutputTarget(0)] * len(images)))

    return explain


def _captum(model: nn.Module, layer: str) -> Explain:
    from captum.attr import LayerGradCam

    cam: Any = LayerGradCam(model, model.get_submodule(layer))

    def explain(images: Tensor) -> Tensor:
        maps = cam.attribute(images, target=0, relu_attributions=True)
        return F.interpolate(maps, images.shape[2:], mode="bilinear")[:, 0].detach()

    return explain


def _torchcam(model: nn.Module, layer: str) -> Explain:
    from torchcam.methods import GradCAM

    def explain(images: Tensor) -> Tensor:
        with GradCAM(model, target_layer=layer) as cam:
            maps = cam(0, model(images))[0]
        return F.interpolate(maps[:, None], images.shape[2:], mode="bilinear")[:, 0].detach()

    return explain


PEERS: dict[str, tuple[str, Callable[[nn.Module, str], Explain]]] = {
    "pytorch-grad-cam": ("pytorch_grad_cam", _grad_cam),
    "captum": ("captum", _captum),
    "torch-cam": ("torchcam", _torchcam),
}
"""The package to import, and a function that makes an explainer from a model and a layer."""
