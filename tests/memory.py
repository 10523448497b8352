"""How much memory a call uses: by the tensors alive (equal on every machine), or by the size of the process."""

from __future__ import annotations

import os
import weakref
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Counted(TorchDispatchMode):
    """The peak size, in bytes, of the tensors that are created while this mode is active."""

    def __init__(self) -> None:
        super().__init__()
        self.alive = 0
        self.peak = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for leaf in tree_leaves((args, kwargs)):
            if isinstance(leaf, Tensor):
                self.note(leaf.untyped_storage(), 0)  # memory that was there before
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self.note(leaf.untyped_storage(), leaf.untyped_storage().nbytes())
        return result

    def note(self, storage: torch.UntypedStorage, size: int) -> None:
        key = storage._cdata
        if key in self.known:
            return
        self.known.add(key)
        self.alive += size
        self.peak = max(self.peak, self.alive)
        weakref.finalize(storage, self.forget, key, size)

    def forget(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.alive -= size


def peak(call: Any) -> int:
    """The peak size, in bytes, of the tensors that a call creates."""
    with Counted() as counted:
        call()
    return counted.peak


STATM = Path("/proc/self/statm")


def resident() -> int:
    """The physical memory that this process holds at this moment, in bytes; 0 where the system does not report it.

    Linux reports it in ``/proc/self/statm``. macOS and Windows have no such file: there every call returns 0, so a
    bound on the growth always holds, and only counts of live tensors detect a leak. The lifetime maximum that
    ``getrusage`` reports does not replace it: after one high peak it stays the same, whatever leaks later.
    """
    if not STATM.exists():
        return 0
    pages = int(STATM.read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
