"""pellucid: visual explanations of image classifiers, made for medicine.

>>> import torch, pellucid
>>> from torchvision.models import resnet18
>>> explanation = pellucid.explain(resnet18(), torch.randn(1, 3, 224, 224))
>>> explanation.layers, explanation.heatmaps.shape
(('layer4',), torch.Size([1, 1, 224, 224]))
"""

import sys
from importlib import import_module
from types import FrameType
from typing import TYPE_CHECKING, Any

from pellucid.core import display as _display
from pellucid.core import habits as _habits

if TYPE_CHECKING:
    from pellucid import (
        attacks,
        changes,
        errors,
        evaluation,
        methods,
        metrics,
        phantom,
        priors,
        report,
        robustness,
        statistics,
        training,
        xai,
    )
    from pellucid.choosing.choose import choose
    from pellucid.core.archive import load_explanation
    from pellucid.core.attack import Attack, register_attack
    from pellucid.core.attacked import Attacked
    from pellucid.core.attribution import Attribution
    from pellucid.core.catalogue import register_method, register_prior
    from pellucid.core.change import Change, register_change
    from pellucid.core.choice import Choice
    from pellucid.core.explanation import Explanation
    from pellucid.core.geometry import Geometry
    from pellucid.core.image import Image
    from pellucid.core.method import Method
    from pellucid.core.metric import Comparison, Metric, register_metric
    from pellucid.core.probe import Probe
    from pellucid.core.region import Region
    from pellucid.core.rule import BackwardRule
    from pellucid.core.runtime import Runtime
    from pellucid.core.scores import Scores
    from pellucid.core.target import Targets
    from pellucid.errors import PellucidError, PellucidWarning
    from pellucid.io import read_image, read_series
    from pellucid.models.preprocessing import Preprocessing
    from pellucid.models.registries import ExplanationSettings, ModelRegistry
    from pellucid.models.sources import ModelInfo, load_model, model_info
    from pellucid.render import overlay, show, viewer
    from pellucid.run.attack import attack
    from pellucid.run.compare import compare
    from pellucid.run.evaluate import evaluate
    from pellucid.run.explain import explain
    from pellucid.run.explainer import Explainer
    from pellucid.run.layers import recommended_layers
    from pellucid.run.methods import available_methods
    from pellucid.run.prepare import prepare
    from pellucid.run.writing import write

    __version__: str

# Imported on first use: `pellucid --help` must not wait for torch.
_HOMES = {
    "Attack": "core.attack",
    "Attacked": "core.attacked",
    "Attribution": "core.attribution",
    "BackwardRule": "core.rule",
    "Change": "core.change",
    "Choice": "core.choice",
    "Comparison": "core.metric",
    "Explainer": "run.explainer",
    "Explanation": "core.explanation",
    "ExplanationSettings": "models.registries",
    "Geometry": "core.geometry",
    "Image": "core.image",
    "Method": "core.method",
    "Metric": "core.metric",
    "ModelInfo": "models.sources",
    "ModelRegistry": "models.registries",
    "PellucidError": "errors",
    "PellucidWarning": "errors",
    "Preprocessing": "models.preprocessing",
    "Probe": "core.probe",
    "Region": "core.region",
    "Runtime": "core.runtime",
    "Scores": "core.scores",
    "Targets": "core.target",
    "attack": "run.attack",
    "available_methods": "run.methods",
    "choose": "choosing.choose",
    "compare": "run.compare",
    "evaluate": "run.evaluate",
    "explain": "run.explain",
    "load_explanation": "core.archive",
    "load_model": "models.sources",
    "model_info": "models.sources",
    "overlay": "render",
    "prepare": "run.prepare",
    "read_image": "io",
    "read_series": "io",
    "recommended_layers": "run.layers",
    "register_attack": "core.attack",
    "register_change": "core.change",
    "register_method": "core.catalogue",
    "register_metric": "core.metric",
    "register_prior": "core.catalogue",
    "show": "render",
    "viewer": "render",
    "write": "run.writing",
}
_MODULES = (
    "attacks",
    "changes",
    "errors",
    "evaluation",
    "methods",
    "metrics",
    "phantom",
    "priors",
    "report",
    "robustness",
    "statistics",
    "training",
    "xai",
)

__all__ = [
    "Attack",
    "Attacked",
    "Attribution",
    "BackwardRule",
    "Change",
    "Choice",
    "Comparison",
    "Explainer",
    "Explanation",
    "ExplanationSettings",
    "Geometry",
    "Image",
    "Method",
    "Metric",
    "ModelInfo",
    "ModelRegistry",
    "PellucidError",
    "PellucidWarning",
    "Preprocessing",
    "Probe",
    "Region",
    "Runtime",
    "Scores",
    "Targets",
    "__version__",
    "attack",
    "attacks",
    "available_methods",
    "changes",
    "choose",
    "compare",
    "errors",
    "evaluate",
    "evaluation",
    "explain",
    "load_explanation",
    "load_model",
    "methods",
    "metrics",
    "model_info",
    "overlay",
    "phantom",
    "prepare",
    "priors",
    "read_image",
    "read_series",
    "recommended_layers",
    "register_attack",
    "register_change",
    "register_method",
    "register_metric",
    "register_prior",
    "report",
    "robustness",
    "show",
    "statistics",
    "training",
    "viewer",
    "write",
    "xai",
]


def _get(name: str) -> Any:
    """Import a public name from its module (PEP 562)."""
    if name not in __all__:
        raise _missing(name, sys._getframe(1))
    value = _value(name)
    globals()[name] = value
    return value


def _missing(name: str, caller: FrameType) -> Exception:
    """The error for a name that is not public. Only for that of a class are the methods, and so torch, imported."""
    known = {} if name.startswith("_") else {one: one for one in __all__}
    if name[:1].isupper():
        catalogue = import_module("pellucid.core.catalogue")
        known |= {cls.__name__: f"pellucid.priors.{cls.__name__}" for cls in catalogue.PRIORS.registered().values()}
        known |= {cls.__name__: f"pellucid.methods.{cls.__name__}" for cls in catalogue.registered().values()}
    return _habits.missing("pellucid", name, known, caller)


if not TYPE_CHECKING:  # else every misspelt name would be one to a type checker
    __getattr__ = _get


def _value(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"pellucid.{name}")
    if name in _HOMES:
        return getattr(import_module(f"pellucid.{_HOMES[name]}"), name)
    from importlib.metadata import version

    return version("pellucid")


def __dir__() -> list[str]:
    """The public names, imported or not."""
    return __all__


def _html(explanation: Any) -> str:
    """The HTML of an explanation. The renderer is imported when a notebook first asks for it."""
    from pellucid.render.notebook import html

    return html(explanation)


_display.register_html(_html)
