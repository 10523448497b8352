"""What is known of a model: ``model_info`` returns it, for one that ``load_model`` made and for others."""

from __future__ import annotations

from dataclasses import replace
from weakref import WeakKeyDictionary

from torch import nn

from pellucid.models.preprocessing import Preprocessing
from pellucid.models.sources.base import ModelInfo, ModelRequest, Source
from pellucid.models.sources.hf import from_config
from pellucid.models.stated_preprocessing import from_timm

_KNOWN: WeakKeyDictionary[nn.Module, ModelInfo] = WeakKeyDictionary()


def model_info(model: nn.Module) -> ModelInfo:
    """Return what is known about a model; everything for one that ``load_model`` made, also inside a wrapper.

    For any other, the preprocessing is read from timm's ``pretrained_cfg``, and classes and head from the ``config`` of
    transformers.
    """
    for name in ("module", "_orig_mod"):
        inner = getattr(model, name, None)
        if model not in _KNOWN and isinstance(inner, nn.Module):
            return model_info(inner)
    if model in _KNOWN:
        return _KNOWN[model]
    if isinstance(getattr(model, "pretrained_cfg", None), dict):
        return _sized(ModelInfo(preprocessing=from_timm(model)))
    side = getattr(model, "image_size", None)  # torchvision's ViT
    known = from_config(getattr(model, "config", None))
    return replace(known, input_size=(3, side, side)) if isinstance(side, int) else known


def state_preprocessing(model: nn.Module, preprocessing: Preprocessing, assumed: tuple[str, ...] = ()) -> None:
    """Let ``model_info`` return this preprocessing of a model that ``load_model`` made, and what of it is assumed."""
    known = replace(model_info(model), preprocessing=preprocessing, assumed=assumed)
    _KNOWN[model] = replace(known, input_size=preprocessing.input_size or known.input_size)


def restate(model: nn.Module, head: str = "auto", output: str | int | None = None) -> nn.Module:
    """A model that ``load_model`` made, with what its user knows better than its source: its head and output."""
    known = model_info(model)
    head_known = known.head if head == "auto" else head
    _KNOWN[model] = replace(known, head=head_known, output=known.output if output is None else output)
    return model


def remember(
    model: nn.Module, source: Source, request: ModelRequest, known: ModelInfo, made: nn.Module | None = None
) -> nn.Module:
    """Keep what is known of a model, and what its source states of it, or of the one ``made`` that it was built of."""
    own = _sized(source.info(request, model if made is None else made))
    digest, weights = known.checkpoint_sha256 or own.checkpoint_sha256, known.weights or own.weights
    _KNOWN[model] = replace(own, spec=known.spec, checkpoint_sha256=digest, weights=weights)
    return model.eval()


def know(model: nn.Module, info: ModelInfo) -> None:
    """Let ``model_info`` return this of a model."""
    _KNOWN[model] = info


def known_of(model: nn.Module) -> ModelInfo:
    """What is known of a model that ``load_model`` made, such as one that a factory returns; nothing of any other."""
    return _KNOWN.get(model, ModelInfo())


def _sized(info: ModelInfo) -> ModelInfo:
    """The same with the input's size, where only the preprocessing states it."""
    known = info.preprocessing
    if info.input_size or known is None or known.crop is None:
        return info
    return replace(info, input_size=(known.channels, *known.crop))
