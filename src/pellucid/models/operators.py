"""Import torchvision, and timm, which imports it, also where torchvision's compiled operators do not fit this torch.

A torchvision that was built for another torch, such as one with CUDA beside a torch without, fails at import: it
describes operators that were never declared (``operator torchvision::nms does not exist``). Classification networks
use none of them. They are declared, and torchvision itself refuses to run them with a message of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache, partial
from importlib import import_module
from typing import Any, TypeVar

import torch

T = TypeVar("T")
_MISSING = re.compile(r"operator torchvision::(\w+) does not exist")
_SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
"""Of ``nms``; nothing is run by it."""


def imported(name: str) -> Any:
    """The module ``torchvision`` or ``timm``."""
    return declaring(partial(import_module, name))


def declaring(run: Callable[[], T]) -> T:
    """What a function that imports torchvision returns: it is run again where an operator had to be declared."""
    declared: set[str] = set()
    while True:
        try:
            return run()
        except RuntimeError as error:
            missing = _MISSING.search(str(error))
            if missing is None or missing[1] in declared:
                raise
        declared.add(missing[1])
        _library().define(f"{missing[1]}{_SIGNATURE}")  # type: ignore[no-untyped-call]  # torch annotates part of it


def has_compiled_operators() -> bool:
    """Whether torchvision's compiled operators were loaded, which detection networks need."""
    imported("torchvision")
    return bool(import_module("torchvision.extension")._has_ops())


@cache  # its declarations last as long as it does
def _library() -> torch.library.Library:
    return torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]  # the same
