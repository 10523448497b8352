"""What torch keeps for a thread, set aside for an explanation and put back whatever happens."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from contextlib import ExitStack
from typing import TypeVar

import torch

from pellucid.core.torch_private import open_modes, set_modes, set_written_depth, written_depth

T = TypeVar("T")


class ThreadState:
    """Gradient mode, autocast, the modes that are open and whether compiled functions run compiled, in this thread."""

    def __init__(self) -> None:
        self._grad = torch.is_grad_enabled()
        self._autocast = {kind: torch.is_autocast_enabled(kind) for kind in _kinds()}
        self._modes = open_modes()
        self._written = written_depth()

    def plain(self) -> None:
        """No gradients, no compiled functions, and no autocast: a map's precision is the runtime's to choose."""
        torch.set_grad_enabled(False)
        set_written_depth(1)
        for kind, enabled in self._autocast.items():
            if enabled:
                torch.set_autocast_enabled(kind, False)

    @property
    def is_off(self) -> bool:
        """Whether a mode is open that was not, or the other way round: no error that is raised in Python does that."""
        return any(
            list(map(id, now)) != list(map(id, then)) for now, then in zip(open_modes(), self._modes, strict=True)
        )

    def restore(self) -> None:
        """Put everything back. May be called again."""
        set_modes(self._modes)
        for kind, enabled in self._autocast.items():
            if torch.is_autocast_enabled(kind) != enabled:
                torch.set_autocast_enabled(kind, enabled)
        set_written_depth(self._written)
        torch.set_grad_enabled(self._grad)


def _kinds() -> tuple[str, ...]:
    return ("cpu", "cuda", "mps") if torch.backends.mps.is_available() else ("cpu", "cuda")


def kept(work: Callable[[], T]) -> T:
    """The result of ``work``, after which the state of this thread is as it was.

    Also where an interrupt strikes at any moment: the state is restored in two places, one of which is run through
    whole. Before, what an interrupt has left open is closed. A generator of a context manager would else run its end
    when it is collected, and put back the state of a moment long past.
    """
    state = ThreadState()
    try:
        try:
            with ExitStack() as stack:
                if torch.is_inference_mode_enabled():
                    stack.enter_context(torch.inference_mode(False))
                state.plain()
                return work()
        except BaseException as error:
            if state.is_off or not isinstance(error, Exception):
                _close_frames(error)
            raise
        finally:
            state.restore()
    finally:
        state.restore()


def _close_frames(error: BaseException) -> None:
    """Let go of what the frames hold that an error came through."""
    chain: list[BaseException] = [error]
    while (before := chain[-1].__cause__ or chain[-1].__context__) is not None and before not in chain:
        chain.append(before)
    for one in chain:
        traceback.clear_frames(one.__traceback__)
