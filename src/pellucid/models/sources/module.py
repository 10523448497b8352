"""``package.module:factory``: a model of an installed package, returned by a function in one of its modules."""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from pellucid.errors import SourceError, did_you_mean
from pellucid.models.sources.base import ModelInfo, ModelRequest
from pellucid.models.sources.file import info_of, made_by

_NAME = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):([A-Za-z_]\w*)")


class ModuleSource:
    """A function in a module that Python can import, such as ``pellucid.phantom:unguided_cnn``.

    It may take, and its model may state, what a factory in a file may (``FileSource``). The user names it; a weights
    file cannot.
    """

    prefix = "module"
    path_form = "package.module:factory"
    brings_weights = True
    states_preprocessing = True

    def takes_path(self, spec: str) -> bool:
        """Whether a specification names something in a package that is installed. Only its parents are imported."""
        matched = _NAME.fullmatch(spec)
        return matched is not None and _is_there(matched.group(1))

    def outline(self, request: ModelRequest) -> nn.Module:
        """Return the model as the factory makes it without arguments. ``SourceError``: no such function."""
        return made_by(request.name, partial(_factory, request.name), {})

    def build(self, request: ModelRequest) -> nn.Module:
        """Run the factory. ``SourceError``: no such function, an error in it, or not a model."""
        sizes = {"num_classes": request.num_classes, "in_channels": request.in_channels}
        return made_by(request.name, partial(_factory, request.name), sizes)

    def info(self, request: ModelRequest, model: nn.Module) -> ModelInfo:
        """Return what the model's own attributes state."""
        return info_of(request.name, model)


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except Exception:  # the parents are imported, which are anyone's code
        return False


def _factory(name: str) -> Callable[..., Any]:
    matched = _NAME.fullmatch(name)
    if matched is None or not _is_there(matched.group(1)):
        raise SourceError(f"module:{name} names no function of an installed package; give package.module:factory")
    module, function = matched.groups()
    found = getattr(importlib.import_module(module), function, None)
    if not callable(found):
        known = [key for key, value in vars(importlib.import_module(module)).items() if callable(value)]
        raise SourceError(f"{module} has no function {function!r}{did_you_mean(function, known)}; give one that it has")
    return found  # type: ignore[no-any-return]


SOURCE = ModuleSource()
