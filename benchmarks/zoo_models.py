"""Lists the networks of the zoo, from the libraries themselves."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import cache

from pellucid.models.checkpoints.reference import weightless
from pellucid.models.sources import monai, xrv

LARGEST = 400_000_000
"""The largest number of parameters of a network in the sample."""


def others() -> list[str]:
    """The networks besides timm's: torchvision's, every type of transformers', and the medical ones."""
    return [*of_torchvision(), *of_transformers(), *of_medicine()]


def of_torchvision() -> list[str]:
    """Torchvision's classification networks for images and for videos."""
    import torchvision

    models = torchvision.models
    return [f"torchvision:{name}" for part in (models, models.video) for name in models.list_models(module=part)]


def of_timm() -> list[str]:
    """The smallest network of each of timm's modules."""
    import timm

    families = (timm.list_models(module=module) for module in timm.list_modules())
    return [f"timm:{min(names, key=lambda name: sizes()[name])}" for names in families if names]


def of_transformers() -> list[str]:
    """Every model type for which transformers has an image classifier, with its default configuration."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES

    return [f"hf:{kind}" for kind in MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES]


def of_medicine() -> list[str]:
    """Torchxrayvision's architectures, and the smallest of each kind of MONAI's, in two and in three dimensions."""
    kinds: dict[str, str] = {}
    for name in monai.CLASSES:  # within a kind the smallest comes first
        kinds.setdefault(name.rstrip("0123456789"), name)
    medical = [f"monai:{name}{rank}" for name in kinds.values() for rank in ("", "-3d")]
    return [*(f"xrv:{name}" for name in xrv.BARE), *medical]


def sample(count: int, seed: int) -> list[str]:
    """A random sample of ``count`` of timm's networks with at most ``LARGEST`` parameters."""
    fitting = sorted(name for name, size in sizes().items() if size <= LARGEST)
    return [f"timm:{name}" for name in random.Random(seed).sample(fitting, min(count, len(fitting)))]  # noqa: S311  # not for security


@cache
def sizes() -> dict[str, int]:
    """The number of parameters of each of timm's networks; computing it takes two minutes."""
    return dict(_sizes())


def _sizes() -> Iterator[tuple[str, int]]:
    import timm

    for name in timm.list_models():
        try:
            with weightless():
                yield name, _parameters(name)
        except RuntimeError:  # the constructor computes with the weights
            yield name, _parameters(name)


def _parameters(name: str) -> int:
    import timm

    return sum(parameter.numel() for parameter in timm.create_model(name).parameters())
