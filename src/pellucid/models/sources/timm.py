"""``timm:vit_base_patch16_224``: timm's models."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

from torch import nn

from pellucid.errors import SourceError, did_you_mean
from pellucid.models.operators import imported
from pellucid.models.sources.base import ModelInfo, ModelRequest, downloading, outlined
from pellucid.models.stated_preprocessing import from_timm


class TimmSource:
    """timm's registered models by their names (``name`` or ``name.tag``), never from the hub by address."""

    prefix = "timm"
    brings_weights = False

    def outline(self, request: ModelRequest) -> nn.Module:
        """Build the architecture, if possible without memory for its weights. ``SourceError``: no such name."""
        return outlined(lambda: _create(request.name))

    def build(self, request: ModelRequest) -> nn.Module:
        """Build the model. ``SourceError``: no such name, or its weights cannot be loaded."""
        return _create(request.name, request.pretrained, request.num_classes, request.in_channels)

    def info(self, _: ModelRequest, model: nn.Module) -> ModelInfo:
        """Return the preprocessing, and ImageNet's class names if there are 1000 classes."""
        classes = _imagenet(getattr(model, "num_classes", None))
        return ModelInfo(classes=classes, preprocessing=from_timm(model))


def _create(
    name: str, pretrained: bool = False, num_classes: int | None = None, in_channels: int | None = None
) -> nn.Module:
    timm = imported("timm")
    # Only registered names: "hf-hub:…" would download whatever it names.
    if ":" in name or not timm.is_model(name):
        raise SourceError(
            f"timm:{name} is no timm model{did_you_mean(name, timm.list_models())}; timm.list_models() names them"
        )
    options: dict[str, Any] = {"num_classes": num_classes, "in_chans": in_channels}
    given = {key: value for key, value in options.items() if value is not None}
    with downloading(f"timm:{name}") if pretrained else nullcontext():
        model: nn.Module = timm.create_model(name, pretrained=pretrained, **given)
    return model


def _imagenet(count: int | None) -> tuple[str, ...] | None:
    if count != 1000:
        return None
    from timm.data.imagenet_info import ImageNetInfo

    names = ImageNetInfo()
    return tuple(names.index_to_description(i) for i in range(count))


SOURCE = TimmSource()
