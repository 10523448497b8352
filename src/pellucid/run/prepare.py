"""``prepare``: preprocess an image for a model."""

from __future__ import annotations

from torch import nn

from pellucid.core.default_device import on_cpu_by_default
from pellucid.core.image import Image
from pellucid.errors import SourceError, warn
from pellucid.models.sources import model_info
from pellucid.models.sources.assumed import assumption


@on_cpu_by_default
def prepare(model: nn.Module, image: Image) -> Image:
    """Preprocess an image as in the model's training; ``prepared.values`` (C, *space) is the input to explain.

    Colour, size and normalisation come from timm, torchvision, a checkpoint's settings or the model's own
    ``preprocessing``, and are recorded in ``provenance``. What a checkpoint does not state is assumed, with a warning.
    ``geometry`` maps back to the original pixels, on which ``pellucid.overlay(explanation, prepared)`` draws.

    Raises:
        SourceError: the model's preprocessing is not known; preprocess the images as in its training.
    """
    info = model_info(model)
    if info.preprocessing is None:
        raise SourceError(
            "prepare(model, image) was called; the model states no preprocessing: prepare the image as in its "
            "training, pellucid.Preprocessing(resize=…, mean=…, std=…)(image), or set the model's `preprocessing` and "
            "load it with load_model"
        )
    if info.assumed:
        cure = "give load_model preprocessing=pellucid.Preprocessing(…)"
        who = "the checkpoint" if info.weights == "checkpoint" else "the model"
        warn(assumption(who, info.assumed, info.preprocessing, cure))
    return info.preprocessing(image)
