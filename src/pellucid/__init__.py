"""pellucid: visual explanations of image classifiers, made for medicine.

>>> import torch, pellucid
>>> from torchvision.models import resnet18
>>> explanation = pellucid.explain(resnet18(), torch.randn(1, 3, 224, 224))
>>> explanation.layers, explanation.heatmaps.shape
(('layer4',), torch.Size([1, 1, 224, 224]))
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pellucid import errors as errors
    from pellucid.core.archive import load_explanation
    from pellucid.core.explanation import Explanation
    from pellucid.core.image import Image
    from pellucid.core.method import Method
    from pellucid.core.runtime import Runtime
    from pellucid.core.target import Region
    from pellucid.errors import PellucidError, PellucidWarning
    from pellucid.io import read_image, read_series
    from pellucid.models.sources import ModelInfo, load_model, model_info
    from pellucid.render import overlay
    from pellucid.run.explain import Explainer, explain
    from pellucid.run.layers import recommended_layers
    from pellucid.run.methods import available_methods
    from pellucid.run.prepare import prepare
    from pellucid.run.writing import write

# Loaded when first used: `pellucid --help` has no need of torch.
_HOMES = {
    "Explainer": "run.explain",
    "Explanation": "core.explanation",
    "Image": "core.image",
    "Method": "core.method",
    "ModelInfo": "models.sources",
    "PellucidError": "errors",
    "PellucidWarning": "errors",
    "Region": "core.target",
    "Runtime": "core.runtime",
    "available_methods": "run.methods",
    "explain": "run.explain",
    "load_explanation": "core.archive",
    "load_model": "models.sources",
    "model_info": "models.sources",
    "overlay": "render",
    "prepare": "run.prepare",
    "read_image": "io",
    "read_series": "io",
    "recommended_layers": "run.layers",
    "write": "run.writing",
}

__all__ = [
    "Explainer",
    "Explanation",
    "Image",
    "Method",
    "ModelInfo",
    "PellucidError",
    "PellucidWarning",
    "Region",
    "Runtime",
    "available_methods",
    "explain",
    "load_explanation",
    "load_model",
    "model_info",
    "overlay",
    "prepare",
    "read_image",
    "read_series",
    "recommended_layers",
    "write",
]


def __getattr__(name: str) -> Any:
    """Load a public name from its home (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'pellucid' has no attribute {name!r}")
    value = getattr(import_module(f"pellucid.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names, loaded or not."""
    return __all__
