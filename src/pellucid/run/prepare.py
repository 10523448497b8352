"""``prepare``: preprocess an image for a model."""

from __future__ import annotations

from torch import nn

from pellucid.core.image import Image
from pellucid.errors import SourceError
from pellucid.models.sources import model_info


def prepare(model: nn.Module, image: Image) -> Image:
    """Preprocess an image as in the model's training; ``prepared.values`` (C, *space) is the input to explain.

    Colour, size and normalisation come from timm, torchvision or the model's own ``preprocessing``, and are recorded
    in ``provenance``. ``geometry`` maps back to the original pixels, on which
    ``pellucid.overlay(explanation, prepared)`` draws.

    Raises:
        SourceError: the model's preprocessing is not known; preprocess the images as in its training.
    """
    preprocessing = model_info(model).preprocessing
    if preprocessing is None:
        raise SourceError(
            "prepare(model, image) was called; the model states no preprocessing: set its `preprocessing` and load it "
            "with load_model, or preprocess the images as in its training"
        )
    return preprocessing(image)
