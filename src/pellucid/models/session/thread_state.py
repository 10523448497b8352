"""What torch keeps for a thread, set aside for an explanation and put back whatever happens."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import TypeVar

import torch

from pellucid.models.session.torch_private import leave_modes, open_modes

T = TypeVar("T")


class ThreadState:
    """Gradient mode, autocast and the modes that are open in this thread, as they are now."""

    def __init__(self) -> None:
        self._grad = torch.is_grad_enabled()
        self._autocast = {kind: torch.is_autocast_enabled(kind) for kind in _kinds()}
        self._modes = open_modes()

    def plain(self) -> None:
        """No gradients, and no autocast: a map's precision is the runtime's to choose."""
        torch.set_grad_enabled(False)
        for kind, enabled in self._autocast.items():
            if enabled:
                torch.set_autocast_enabled(kind, False)

    def restore(self) -> None:
        """Put everything back. May be called again."""
        leave_modes(*self._modes)
        for kind, enabled in self._autocast.items():
            if torch.is_autocast_enabled(kind) != enabled:
                torch.set_autocast_enabled(kind, enabled)
        torch.set_grad_enabled(self._grad)


def _kinds() -> tuple[str, ...]:
    return ("cpu", "cuda", "mps") if torch.backends.mps.is_available() else ("cpu", "cuda")


def kept(work: Callable[[], T]) -> T:
    """The result of ``work``, after which the state of this thread is as it was.

    Also where an interrupt strikes at any moment: the state is restored in two places, one of which is run through
    whole. What is set aside is only touched within them. A generator that an interrupt leaves open would put its own
    state back when it is collected, so that none of the engine's has any.
    """
    state = ThreadState()
    try:
        try:
            with ExitStack() as stack:
                if torch.is_inference_mode_enabled():
                    stack.enter_context(torch.inference_mode(False))
                state.plain()
                return work()
        finally:
            state.restore()
    finally:
        state.restore()
