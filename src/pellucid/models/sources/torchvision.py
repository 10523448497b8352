"""``torchvision:resnet50``, ``torchvision:r3d_18``: torchvision's classification models, for images and videos."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from typing import Any

from torch import nn

from pellucid.core.torch_private import CONVOLUTION
from pellucid.errors import SourceError, did_you_mean
from pellucid.models.checkpoints.reference import describe, weightless
from pellucid.models.operators import imported
from pellucid.models.preprocessing import Preprocessing
from pellucid.models.sources.base import ModelInfo, ModelRequest, downloading, number_of_classes
from pellucid.models.stated_preprocessing import from_torchvision

FEW_FRAMES = 8
AUXILIARY = ("googlenet", "inception_v3")


class TorchvisionSource:
    """torchvision's classification models by their names; those for videos take (B, C, T, H, W)."""

    prefix = "torchvision"
    brings_weights = False

    def outline(self, request: ModelRequest) -> nn.Module:
        """Build the architecture without memory for its weights. ``SourceError``: no such name."""
        with weightless():
            return _get_model(request.name, None, None, None)

    def build(self, request: ModelRequest) -> nn.Module:
        """Build the model. ``SourceError``: no such name, or its weights cannot be loaded."""
        weights = _default_weights(request.name) if request.pretrained else None
        model = _get_model(request.name, weights, None if weights else request.num_classes, request.auxiliary)
        reference = describe("", model)
        if request.num_classes and request.num_classes != number_of_classes(model, reference.heads[0]):
            _replace(model, reference.heads[0], out=request.num_classes)
        if request.in_channels and reference.first:
            _replace(model, reference.first, channels=request.in_channels)
        return model

    def info(self, request: ModelRequest, model: nn.Module) -> ModelInfo:
        """Return the default weights' classes and preprocessing; nothing is downloaded."""
        weights = _default_weights(request.name)
        categories = tuple(weights.meta["categories"])
        count = number_of_classes(model, describe("", model).heads[0])
        images = request.name not in _names(video=True)
        channels = request.in_channels or 3
        return ModelInfo(
            classes=categories if len(categories) == count else None,
            preprocessing=_preprocessing(weights, channels, model) if images else None,
            input_size=None if images else (channels, *_video_size(weights)),
        )


def _preprocessing(weights: Any, channels: int, model: nn.Module) -> Preprocessing:
    """Return the preprocessing that the weights were trained with; adapted for a ViT of another input size."""
    known = from_torchvision(weights, channels)
    side = getattr(model, "image_size", None)
    return known.for_side(side) if isinstance(side, int) else known


def _video_size(weights: Any) -> tuple[int, ...]:
    """Return the (frames, H, W) of the weights; a few frames for networks that take any number."""
    frames = max(weights.meta.get("min_temporal_size", 1), FEW_FRAMES)
    return (frames, *weights.transforms().crop_size)


def _names(video: bool) -> list[str]:
    torchvision = imported("torchvision")
    module = torchvision.models.video if video else torchvision.models
    names: list[str] = torchvision.models.list_models(module=module)
    return names


def _get_model(name: str, weights: Any, num_classes: int | None, auxiliary: bool | None) -> nn.Module:
    torchvision = imported("torchvision")
    known = _names(video=False) + _names(video=True)
    if name not in known:
        raise SourceError(
            f"torchvision:{name} is no torchvision classification model{did_you_mean(name, known)}; "
            "torchvision.models.list_models() names them"
        )
    options: dict[str, Any] = {} if num_classes is None else {"num_classes": num_classes}
    if name in AUXILIARY and not weights:
        # A checkpoint states the auxiliary heads, and replaces weights that are slow to initialise.
        options |= {"init_weights": auxiliary is None, "aux_logits": auxiliary is not False}
    with downloading(f"torchvision:{name}") if weights else nullcontext():
        model: nn.Module = torchvision.models.get_model(name, weights=weights, **options)
    return model


def _default_weights(name: str) -> Any:
    torchvision = imported("torchvision")
    return torchvision.models.get_model_weights(name).DEFAULT


def _replace(model: nn.Module, name: str, out: int | None = None, channels: int | None = None) -> None:
    """Replace a layer by one of another size, with new weights."""
    old = model.get_submodule(name)
    if channels is not None and channels == vars(old)["in_channels"]:
        return
    sizes = {"out_features": out, "out_channels": out, "in_channels": channels}
    new = copy.deepcopy(old)
    for key, size in sizes.items():
        if size is not None and key in vars(new):
            setattr(new, key, size)
    axis, size = (0, out) if out is not None else (1, channels)
    for kind, value in list(new.named_parameters(recurse=False)):
        shape = list(value.shape)
        if axis < len(shape):
            shape[axis] = size or 0
        setattr(new, kind, nn.Parameter(value.new_empty(shape)))
    if isinstance(new, (nn.Linear, CONVOLUTION)):
        new.reset_parameters()
    model.set_submodule(name, new)


SOURCE = TorchvisionSource()
