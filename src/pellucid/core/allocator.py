"""Lets the process keep the memory that it frees, so that it is used again instead of fetched anew from the system.

By default, glibc returns each large block to the system when it is freed. A network frees and allocates its activations
in every layer, and each new page then costs a page fault and is filled with zeros: together a third of the time of the
network's arithmetic, or as much as it.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache

KEPT = 2**30
"""The most free bytes at the end of each heap that are kept: 1 GiB. Beyond it, memory goes back to the system."""
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
"""Parameters of mallopt (glibc's malloc.h)."""
_STATED = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_")
"""Variables by which a user states how memory is allocated."""
_TUNABLES, _TUNABLE = "GLIBC_TUNABLES", "glibc.malloc."


@cache
def keep_memory() -> str | None:
    """Let the process keep freed memory from now on, until it ends; return why it cannot, or None.

    Blocks are cut from the heaps only (no ``mmap``), and free memory at the end of a heap is returned to the system
    beyond ``KEPT``. The peak of the memory in use is unchanged but for gaps between blocks; free memory between
    blocks is not returned. It applies to Linux with glibc's own allocator, unless a variable of the environment states
    its parameters.
    """
    reason = unsupported()
    if reason is not None:
        return reason
    mallopt = ctypes.CDLL(None).mallopt
    if mallopt(_MMAP_MAX, 0) and mallopt(_TRIM_THRESHOLD, KEPT):
        return None
    return "the C library refuses it"


def unsupported() -> str | None:
    """Why memory cannot be kept in this process, or None; nothing is changed."""
    if not _is_glibc():
        return "it needs Linux with glibc"
    stated = _stated()
    if stated is not None:
        return f"the variable {stated} states how memory is allocated"
    return None if _is_own_malloc() else "another allocator is loaded"


def _stated() -> str | None:
    """The variable of the environment that states parameters of the allocator, if one does."""
    if _TUNABLE in os.environ.get(_TUNABLES, ""):
        return _TUNABLES
    return next((name for name in _STATED if name in os.environ), None)


def _is_glibc() -> bool:
    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc")
    except (AttributeError, ValueError, OSError):  # other systems
        return False


def _is_own_malloc() -> bool:
    """Whether ``malloc`` is glibc's: jemalloc and others are loaded before it, with all functions of an allocator.

    The address of ``malloc`` itself does not tell: that of an executable that is loaded at a fixed address, such as
    Debian's Python, is one within the executable. It does not call ``malloc_usable_size``.
    """
    try:
        found = [ctypes.cast(library.malloc_usable_size, ctypes.c_void_p).value for library in _libraries()]
    except (OSError, AttributeError):
        return False
    return len(set(found)) == 1


def _libraries() -> tuple[ctypes.CDLL, ctypes.CDLL]:
    return ctypes.CDLL(None), ctypes.CDLL("libc.so.6")
