"""Which networks the zoo holds, and how large timm's are."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import cache

from pellucid.models.checkpoints.reference import weightless
from pellucid.models.sources import monai

LARGEST = 400_000_000
"""Parameters that a network of the sample may have."""


def others() -> list[str]:
    """What is judged besides timm's: all of torchvision's, all types of transformers', and the medical ones."""
    return [*of_torchvision(), *of_transformers(), *of_medicine()]


def of_torchvision() -> list[str]:
    """Torchvision's classification networks, of pictures and of videos."""
    import torchvision

    models = torchvision.models
    return [f"torchvision:{name}" for part in (models, models.video) for name in models.list_models(module=part)]


def of_timm() -> list[str]:
    """The smallest network of each of timm's modules."""
    import timm

    families = (timm.list_models(module=module) for module in timm.list_modules())
    return [f"timm:{min(names, key=lambda name: sizes()[name])}" for names in families if names]


def of_transformers() -> list[str]:
    """Every type that transformers has an image classifier of, with its default configuration."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES

    return [f"hf:{kind}" for kind in MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES]


def of_medicine() -> list[str]:
    """Torchxrayvision's two architectures, and MONAI's networks in two and three dimensions, the smallest of a kind."""
    kinds = ("densenet121", "resnet18", "resnet50", "seresnet50", "seresnext50", "efficientnet-b0", "vit")
    assert set(kinds) <= set(monai.CLASSES)  # noqa: S101  # the names are MONAI's source's
    return ["xrv:densenet121", "xrv:resnet50", *(f"monai:{kind}{rank}" for kind in kinds for rank in ("", "-3d"))]


def sample(count: int, seed: int) -> list[str]:
    """So many of timm's networks of at most ``LARGEST`` parameters, drawn by a seed."""
    fitting = sorted(name for name, size in sizes().items() if size <= LARGEST)
    return [f"timm:{name}" for name in random.Random(seed).sample(fitting, min(count, len(fitting)))]  # noqa: S311  # no secret


@cache
def sizes() -> dict[str, int]:
    """The number of parameters of each of timm's networks; it takes two minutes."""
    return dict(_sizes())


def _sizes() -> Iterator[tuple[str, int]]:
    import timm

    for name in timm.list_models():
        try:
            with weightless():
                yield name, _parameters(name)
        except RuntimeError:  # it computes with its weights as it is made
            yield name, _parameters(name)


def _parameters(name: str) -> int:
    import timm

    return sum(parameter.numel() for parameter in timm.create_model(name).parameters())
