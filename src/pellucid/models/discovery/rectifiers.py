"""The ReLU that gets a layer's output, found by the functions that take the output in a pass."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.core.inputs import Inputs
from pellucid.core.torch_private import FunctionMode
from pellucid.models.discovery.noise import noise_image, noise_like
from pellucid.models.session.cache import remembered
from pellucid.models.session.derivatives import as_float, as_like
from pellucid.models.session.hooks import first_tensor, replaced
from pellucid.models.session.occurrence import Occurrence
from pellucid.models.session.session import Session

_FAR = 1000
"""Noise this many times larger reaches beyond the upper bounds of activation functions (ReLU6's is 6)."""


def rectified_to(session: Session, inputs: Inputs, layer: str) -> float | None:
    """The upper bound of the ReLU that a layer's output goes through (infinity: ReLU itself, 6: ReLU6).

    None where the output goes through none, or somewhere else as well. Found once for an input shape, on noise.
    """
    key = ("rectifier", layer, session.key(inputs))
    return remembered(session.model, key, lambda: _found(session, noise_image(inputs), layer))


def _found(session: Session, image: Inputs, layer: str) -> float | None:
    uses = _Uses(Occurrence.of(layer).run)
    hook = session.modules([layer])[layer].register_forward_hook(uses.begin)
    try:
        with torch.no_grad(), uses:
            session.call(image)
    except Exception:  # of a network that does not take noise
        return None
    finally:
        hook.remove()
    return min(uses.bounds) if uses.bounds and not uses.has_others else None


class _Uses(FunctionMode):
    """While this is open, the functions that get the output of a layer's run, or of its last one, are looked at."""

    def __init__(self, run: int | None) -> None:
        super().__init__()
        self._run = run
        self._runs = itertools.count(1)
        self.bounds: list[float] = []
        self.has_others = False
        self._known: list[Tensor] = []
        """The output, views of it, and tensors of the same values."""

    def begin(self, _module: nn.Module, _inputs: Any, output: Any) -> None:
        """The layer gave an output."""
        tensor = first_tensor(output)
        if self._run not in (None, next(self._runs)):
            return
        self.bounds, self.has_others = [], False
        self._known = [] if tensor is None else [tensor]

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Torch's hook for every function that is called."""
        named = kwargs or {}
        given = next((known for known in self._known if _has(args, known) or _has(named, known)), None)
        if given is None:
            return func(*args, **named)
        before = given.clone()
        result = func(*args, **named)
        made = first_tensor(result)
        if made is not None and made.ndim > 0:  # else a shape, or a figure that a hook takes of it

            def again(values: Tensor) -> Any:
                return func(*replaced(args, given, values), **replaced(named, given, values))

            self._note(given, before, made, again)
        return result

    def _note(self, given: Tensor, before: Tensor, made: Tensor, again: Callable[[Tensor], Any]) -> None:
        bound = _bound(before, made, again)
        if bound is not None:
            self.bounds.append(bound)
            self._known = [] if _shares(made, given) else self._known  # in place: what is there now is rectified
        elif _is_same(before, made) or (_shares(made, given) and _is_same(before, given)):
            self._known.append(made)
        else:
            self.has_others = True


def _bound(before: Tensor, made: Tensor, again: Callable[[Tensor], Any]) -> float | None:
    """The upper bound of the ReLU that made one tensor of another; None if it is no ReLU.

    By what it computes, however it is written: also ``clamp``, ``threshold`` or ``maximum``, and neither GELU nor SiLU.
    """
    if not _is_same(as_float(before).clamp(min=0).clamp(max=as_float(made).amax()), made):
        return None
    given = as_like(noise_like(as_float(before)) * _FAR, before)
    values = as_float(given).clone()
    result = as_float(again(given))
    bound = result.amax()
    if not _is_same(values.clamp(min=0).clamp(max=bound), result):
        return None
    return math.inf if bound == values.amax() else float(bound)


def _is_same(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and one.device == other.device and bool((as_float(one) == as_float(other)).all())


def _shares(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are the same memory, however it is laid out."""
    return one.numel() == other.numel() and one.untyped_storage().data_ptr() == other.untyped_storage().data_ptr()


def _has(value: Any, tensor: Tensor) -> bool:
    """Whether a tensor is among a function's arguments."""
    if isinstance(value, (tuple, list)):
        return any(_has(one, tensor) for one in value)
    return _has(list(value.values()), tensor) if isinstance(value, Mapping) else value is tensor
