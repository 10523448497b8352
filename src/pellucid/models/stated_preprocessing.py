"""The preprocessing that torchvision, timm and transformers state of their models."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from pellucid.core.geometry import Geometry
from pellucid.core.image import Image
from pellucid.models.preprocessing import Preprocessing
from pellucid.models.resizing import Interpolation

NEAREST: Mapping[str, Interpolation] = {
    "bilinear": "bilinear",
    "bicubic": "bicubic",
    "nearest": "nearest",
    "lanczos": "bicubic",
    "hamming": "bilinear",
    "random": "bilinear",
}


def from_torchvision(weights: Any, channels: int = 3) -> Preprocessing:
    """The preprocessing that torchvision's weights (a ``WeightsEnum`` member) state; nothing is downloaded."""
    done = weights.transforms()
    size, crop = done.resize_size, done.crop_size
    mode = NEAREST[done.interpolation.value]
    resize = size[0] if len(size) == 1 else tuple(size)
    mean, std = tuple(done.mean), tuple(done.std)
    source = f"torchvision {weights}"
    return Preprocessing(resize, (crop[0], crop[-1]), mean, std, mode, 3, source).for_channels(channels)


def from_timm(model: nn.Module) -> Preprocessing:
    """The preprocessing that a timm model's ``pretrained_cfg`` states, computed as timm does."""
    from timm.data.config import resolve_model_data_config

    data = resolve_model_data_config(model)  # type: ignore[no-untyped-call]  # timm states no types
    stated, height, width = data["input_size"]
    # The settings state three channels even for a model that was made with one.
    channels = getattr(model, "in_chans", stated)
    scaled = (math.floor(height / data["crop_pct"]), math.floor(width / data["crop_pct"]))
    mode = data["crop_mode"]
    source = f"timm pretrained_cfg, crop_mode {mode}"
    if mode == "border":
        resize: int | tuple[int, int] = (height, width)
    else:
        resize = scaled[0] if mode == "center" and height == width else scaled
    interpolation = NEAREST[data["interpolation"]]
    mean, std = tuple(data["mean"]), tuple(data["std"])
    made = Preprocessing(resize, (height, width), mean, std, interpolation, len(mean), source)
    return made.for_channels(channels)


def from_transformers(processor: Any, source: str) -> Preprocessing | None:
    """The preprocessing of a transformers image processor; None if a ``Preprocessing`` cannot express it.

    The meaning of the settings differs between models: of the possible readings, the one is used whose output for a
    test image equals the processor's.
    """
    from PIL.Image import Resampling, fromarray

    normalises = getattr(processor, "do_normalize", False)
    mean, std = (tuple(getattr(processor, key)) if normalises else None for key in ("image_mean", "image_std"))
    mode = getattr(processor, "resample", None)
    interpolation = NEAREST.get(Resampling(mode).name.lower() if mode is not None else "", "bilinear")
    ramp = torch.stack(torch.meshgrid(torch.linspace(0, 1, 240), torch.linspace(0, 1, 400), indexing="ij"))
    pixels = torch.cat([ramp, ramp.prod(0, keepdim=True)]).mul(255).round().byte()
    wanted = processor(fromarray(pixels.movedim(0, -1).numpy()), return_tensors="pt")["pixel_values"][0]
    image = Image(pixels / 255, pixels / 255, Geometry.identity((240, 400)))
    errors = {}
    for resize, crop in _readings(processor):
        reading = Preprocessing(resize, crop, mean, std, interpolation, 3, source)
        made = reading(image).values
        errors[reading] = (made - wanted).abs().max().item() if made.shape == wanted.shape else math.inf
    best = min(errors, key=lambda reading: errors[reading])
    return best if errors[best] <= 0.02 / min(std or (1.0,)) else None


def _readings(processor: Any) -> Iterator[tuple[int | tuple[int, int] | None, tuple[int, int] | None]]:
    """The possible meanings of a processor's size and crop: the size itself, or the size before a crop (224 of 256)."""
    size, crop = (dict(getattr(processor, key, None) or {}) for key in ("size", "crop_size"))
    edge, height, width = size.get("shortest_edge"), size.get("height"), size.get("width")
    square = (edge or height or 1, edge or width or 1)
    share = getattr(processor, "crop_pct", None) or 224 / 256
    crops = [None, square, *([(crop["height"], crop["width"])] if crop.get("height") else [])]
    for resize in (None, edge, square, math.floor(square[0] / share)):
        yield from ((resize, cut) for cut in crops)
