"""Torch's default device while the package works: the CPU for its own tensors, the caller's for the caller's network.

After ``torch.set_default_device("cuda")``, or within ``with torch.device("cuda")``, a tensor that names no device lies
on the GPU. Random numbers are drawn on the CPU here, so that a seed means the same everywhere, and tables, masks and
counters belong there, too.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import ParamSpec, TypeVar

import torch

from pellucid.core.torch_private import Modes, open_modes, set_modes

P = ParamSpec("P")
R = TypeVar("R")
_CPU = torch.device("cpu")


class _Caller(threading.local):
    """The default device of the code that called, in this thread; None where that is the CPU."""

    device: torch.device | None = None


_CALLER = _Caller()


def on_cpu_by_default(function: Callable[P, R]) -> Callable[P, R]:
    """The function, with the CPU as torch's default device while it runs.

    An interrupt at any moment leaves the caller's default as it was: it is restored in two places.
    """

    @wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        device = torch.empty(0).device  # get_default_device of torch 2.6 knows none that is set by ``with``
        if device == _CPU:
            return function(*args, **kwargs)
        before, modes = _CALLER.device, open_modes()
        try:
            try:
                _CALLER.device = device
                with _CPU:
                    return function(*args, **kwargs)
            finally:
                _restore(before, modes)
        finally:
            _restore(before, modes)

    return wrapper


def _restore(device: torch.device | None, modes: Modes) -> None:
    _CALLER.device = device
    set_modes(modes)


@contextmanager
def as_called() -> Iterator[None]:
    """Within, torch's default device is the caller's again: the caller's code may make tensors that name none."""
    if _CALLER.device is None:
        yield
        return
    with _CALLER.device:
        yield
