"""Torch's state of a thread, saved for an explanation and always restored."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from contextlib import ExitStack
from typing import TypeVar

import torch

from pellucid.core.torch_private import open_modes, set_modes, set_written_depth, written_depth

T = TypeVar("T")


class ThreadState:
    """A snapshot of this thread's gradient mode, autocast, open modes, and whether compiled functions run compiled."""

    def __init__(self) -> None:
        self._grad = torch.is_grad_enabled()
        self._autocast = {kind: torch.is_autocast_enabled(kind) for kind in _kinds()}
        self._modes = open_modes()
        self._written = written_depth()

    def plain(self) -> None:
        """Turn off gradients, compiled functions and autocast: the runtime chooses a map's precision."""
        torch.set_grad_enabled(False)
        set_written_depth(1)
        for kind, enabled in self._autocast.items():
            if enabled:
                torch.set_autocast_enabled(kind, False)

    @property
    def is_off(self) -> bool:
        """Whether the open modes differ from the snapshot's: an ordinary Python error never causes that."""
        return any(
            list(map(id, now)) != list(map(id, then)) for now, then in zip(open_modes(), self._modes, strict=True)
        )

    def restore(self) -> None:
        """Restore everything. May be called again."""
        set_modes(self._modes)
        for kind, enabled in self._autocast.items():
            if torch.is_autocast_enabled(kind) != enabled:
                torch.set_autocast_enabled(kind, enabled)
        set_written_depth(self._written)
        torch.set_grad_enabled(self._grad)


def _kinds() -> tuple[str, ...]:
    return ("cpu", "cuda", "mps") if torch.backends.mps.is_available() else ("cpu", "cuda")


def kept(work: Callable[[], T]) -> T:
    """The result of ``work``; the state of this thread is restored afterwards.

    This holds for an interrupt at any moment: the state is restored in two places, at least one of which runs to its
    end. Context managers that an interrupt left open are closed first: their generators would otherwise finish when
    they are collected, and restore an outdated state.
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
    """Clear the frames in an error's traceback, so that they hold nothing."""
    chain: list[BaseException] = [error]
    while (before := chain[-1].__cause__ or chain[-1].__context__) is not None and before not in chain:
        chain.append(before)
    for one in chain:
        traceback.clear_frames(one.__traceback__)
