"""How many processors this process may use, and what is slow about the machine. Nothing here names it or its user."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout, suppress
from math import ceil
from pathlib import Path, PurePosixPath

CPUS = Path("/sys/devices/system/cpu")
CGROUPS = Path("/sys/fs/cgroup")
PROCESS = Path("/proc")
NETWORK = ("afs", "ceph", "cifs", "fuse.sshfs", "gpfs", "lustre", "nfs", "nfs4", "smb3", "smbfs")
"""File systems of other machines, by the names that Linux mounts them under."""
OMP = "OMP_NUM_THREADS"


def allowed_cpus() -> int:
    """The number of logical processors that this process may run on."""
    with suppress(AttributeError):  # Linux has it
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_limit() -> float | None:
    """How many processors' time the cgroup, such as a container's, gives; None without a limit."""
    return min(_quotas(), default=None)


def usable_cpus() -> int:
    """The number of threads that can compute at once."""
    limit = cpu_limit()
    return allowed_cpus() if limit is None else max(1, min(allowed_cpus(), ceil(limit)))


def physical_cores() -> int | None:
    """The number of cores of the machine, whose hyper-threads count once; None where it is not known."""
    lists = {file.read_text().strip() for file in CPUS.glob("cpu[0-9]*/topology/thread_siblings_list")}
    return len(lists) or None


def _quotas() -> Iterator[float]:
    """The quota of each cgroup that this process is in, and of those around them."""
    with suppress(OSError):
        for line in (PROCESS / "self" / "cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers and "cpu" not in controllers.split(","):
                continue
            root, inner = CGROUPS / controllers, PurePosixPath(path.lstrip("/"))
            for folder in (inner, *inner.parents):
                yield from _quota(root / folder)


def _quota(folder: Path) -> Iterator[float]:
    """The processors' time that one cgroup gives, of version 2 or 1."""
    with suppress(OSError, ValueError):
        limit, period = (folder / "cpu.max").read_text().split()
        yield int(limit) / int(period)  # "max" is no number
    with suppress(OSError, ValueError):
        limit, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        if int(limit) > 0:
            yield int(limit) / int(period)


def processor_flags() -> set[str]:
    """The instruction sets of the processor, as Linux names them; none elsewhere."""
    with suppress(OSError):
        found = re.search(r"^(?:flags|Features)\s*:(.*)$", (PROCESS / "cpuinfo").read_text(), re.MULTILINE)
        return set(found[1].split()) if found else set()
    return set()


def has_gpu() -> bool:
    """Whether the operating system has a GPU's driver, whether torch can use it or not."""
    return any(Path(f"/dev/{name}").exists() for name in ("nvidia0", "kfd")) or shutil.which("nvidia-smi") is not None


def file_system(folder: Path) -> str:
    """The name of the file system that a folder is in; empty where it is not known."""
    real, best = PurePosixPath(os.path.realpath(folder)), (PurePosixPath(), "")
    with suppress(OSError):
        for line in (PROCESS / "mounts").read_text().splitlines():
            _, place, kind, *_ = line.split()
            if real.is_relative_to(place) and len(place) >= len(str(best[0])):
                best = PurePosixPath(place), kind
    return best[1]


def slow() -> list[str]:
    """What makes this machine slower than it could be: what was found, and what to do."""
    return [text for find in SLOW for text in _found(find)]


def _found(find: Callable[[], str | None]) -> Iterator[str]:
    with suppress(Exception, SystemExit), redirect_stdout(sys.stderr):  # a broken package is reported by its version
        text = find()
        if text is not None:
            yield text


def _too_many_threads() -> str | None:
    import torch

    count, usable = torch.get_num_threads(), usable_cpus()
    if count <= usable:
        return None
    return f"torch computes with {count} threads, and {usable} can run at once: set {OMP}={usable}"


def _too_few_threads() -> str | None:
    import torch

    count, usable = torch.get_num_threads(), min(usable_cpus(), physical_cores() or usable_cpus())
    if 2 * count > usable:
        return None
    return (
        f"torch computes with {count} of {usable} cores: set {OMP}={usable}, unless other processes compute beside this"
    )


def _old_processor() -> str | None:
    import torch

    if platform.machine().lower() not in ("x86_64", "amd64") or "AVX" in torch.backends.cpu.get_cpu_capability():
        return None
    return "torch uses no AVX2 instructions here, so that networks take several times as long: use another processor"


def _no_bfloat16() -> str | None:
    flags = processor_flags()
    if not flags or any("bf16" in flag for flag in flags):
        return None
    return "the processor has no bfloat16 instructions: leave out --precision bfloat16, which is slower here"


def _unused_gpu() -> str | None:
    import torch

    if not has_gpu() or torch.cuda.is_available():
        return None
    if torch.version.cuda is None and torch.version.hip is None:
        return "there is a GPU, and torch is built without CUDA: install the build for the GPU (README, Install)"
    return "there is a GPU that torch cannot use: its driver may be too old for this torch; see `nvidia-smi`"


def _slow_cache() -> str | None:
    import platformdirs
    import torch

    folders = (Path(torch.hub.get_dir()), Path(platformdirs.user_cache_path("pellucid")))
    kinds = sorted({file_system(folder) for folder in folders} & set(NETWORK))
    if not kinds:
        return None
    return f"downloaded weights are kept on another machine ({', '.join(kinds)}): set TORCH_HOME to a local folder"


def _debug_build() -> str | None:
    import torch

    if not torch.version.debug and not hasattr(sys, "gettotalrefcount"):
        return None
    return "torch or Python is built for debugging, which takes many times as long: install the usual build"


def _returned_memory() -> str | None:
    from pellucid.core.allocator import unsupported

    reason = unsupported()
    if reason is None or not reason.startswith("the variable"):  # elsewhere nothing can be done
        return None
    return f"freed memory goes back to the system, and is fetched anew in every layer, as {reason}: unset it"


SLOW: tuple[Callable[[], str | None], ...] = (
    _too_many_threads,
    _too_few_threads,
    _old_processor,
    _no_bfloat16,
    _unused_gpu,
    _slow_cache,
    _debug_build,
    _returned_memory,
)
"""What is looked for; each returns a line, or None where nothing is wrong."""
