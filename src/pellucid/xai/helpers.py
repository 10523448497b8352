"""Helper functions of the published API: recommended layers, and a Grad-CAM factory."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from torch import nn

from pellucid.errors import NoSpatialLayerError, OptionError, PellucidWarning
from pellucid.run.layers import recommended_layers
from pellucid.xai.config import GradCAMConfig
from pellucid.xai.gradcam import GradCAM, GradCAMPlusPlus

_METHODS = {"gradcam": GradCAM, "gradcam++": GradCAMPlusPlus}


def get_recommended_layers(model: nn.Module) -> list[str]:
    """The layers for ``GradCAMConfig``, derived from the model's structure.

    If no layer has spatial positions, it warns "Could not auto-detect target layers" and raises a ValueError.
    For a ViT, prefer ``AttentionRollout``.
    """
    try:
        return recommended_layers(model)
    except NoSpatialLayerError:
        warnings.warn("Could not auto-detect target layers: give target_layers=[…]", PellucidWarning, stacklevel=2)
        raise


def create_gradcam(
    model: nn.Module, target_layers: Sequence[str] | None = None, method: str = "gradcam", use_cuda: bool = True
) -> GradCAM:
    """A ``GradCAM`` or ``GradCAMPlusPlus`` for these layers, by default for the recommended ones."""
    if method not in _METHODS:
        raise OptionError(f"Invalid method: {method}. Choose from {list(_METHODS)}")
    layers = get_recommended_layers(model) if target_layers is None else target_layers
    return _METHODS[method](model, GradCAMConfig(target_layers=layers, use_cuda=use_cuda))  # type: ignore[arg-type]  # the configuration refuses a string
