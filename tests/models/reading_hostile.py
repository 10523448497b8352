"""Run as a program: read every file of a folder, and print what each gave, its seconds and its memory.

A process of its own, since a peak of memory is the whole process's.
"""

import json
import resource
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

from pellucid.errors import PellucidError
from pellucid.models.checkpoints import read_checkpoint
from pellucid.models.checkpoints.converting import as_safetensors, take_out

GIGABYTE = 2**30
CLEAR = Path("/proc/self/clear_refs")


def peak() -> int:
    """The most memory that this process had so far, in bytes; since the last call where the system can say that."""
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    if CLEAR.exists():
        status = Path("/proc/self/status").read_text()
        largest = int(status.partition("VmHWM:")[2].split()[0]) * 1024
        CLEAR.write_text("5")
    return largest


def outcome(path: Path) -> str:
    """What reading a file, and converting it, gave: "read", an error in one line, or one that should not be."""
    found = [_tried(lambda: read_checkpoint(path)), _tried(lambda: as_safetensors(take_out(path).state, path))]
    return next((one for one in found if one.startswith("BAD")), found[0] if found[1] == "read" else found[1])


def _tried(read: Callable[[], object]) -> str:
    try:
        read()
    except PellucidError as error:
        line = str(error)
        return line if len(line.splitlines()) == 1 and len(line) < 2_000 else f"BAD: {line[:500]!r}"
    except BaseException as error:
        return f"BAD: {type(error).__name__}: {str(error)[:300]}"
    return "read"


def main(folder: Path) -> None:
    warnings.simplefilter("ignore")
    before = Path("/proc/self/statm")
    if before.exists():
        size = int(before.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + GIGABYTE, resource.RLIM_INFINITY))
    start = peak()
    for path in sorted(folder.iterdir()):
        begin = time.process_time()
        found = outcome(path)
        seconds = time.process_time() - begin
        line = {"file": path.name, "outcome": found, "seconds": seconds, "memory": max(0, peak() - start)}
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
