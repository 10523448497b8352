"""``prepare``: a picture as a model wants it."""

from __future__ import annotations

from torch import nn

from pellucid.core.image import Image
from pellucid.errors import SourceError
from pellucid.models.sources import model_info


def prepare(model: nn.Module, image: Image) -> Image:
    """The picture as ``model`` was trained to see it: ``prepared.values`` (C, *space) is what to explain.

    Colour, size and normalisation are what timm, torchvision or the model's own ``preprocessing`` say, and are
    recorded in ``provenance``; ``geometry`` leads back to the original pixels, which is where
    ``pellucid.overlay(explanation, prepared)`` draws. ``SourceError`` where nothing is known of the model:
    then prepare the pictures as its training did.
    """
    preprocessing = model_info(model).preprocessing
    if preprocessing is None:
        raise SourceError(
            "prepare(model, image) was asked for; the model does not say what its pictures should be: set its "
            "`preprocessing` and load it with load_model, or prepare the pictures as its training did"
        )
    return preprocessing(image)
