"""Memory that is kept: fewer page faults, a bound, and nothing where it does not apply. In processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

import pellucid
from pellucid.core import allocator

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it needs Linux with glibc")
_MIB = 2**20
_PREFIX = """
import resource
from pathlib import Path
from pellucid.core.allocator import keep_memory, unsupported

def faults(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
def fill(mib): return b"x" * (mib * 2**20)
"""


def _output(script: str, **variables: str) -> list[str]:
    """The lines that a script prints in a process without the allocator's variables but these."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_", "COV"))}
    done = subprocess.run(  # our own interpreter and script
        [sys.executable, "-c", _PREFIX + textwrap.dedent(script)],
        env=kept | variables,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def test_freed_memory_is_used_again() -> None:
    script = """
    def cost():
        first = faults()
        for _ in range(20):
            fill(40)
        return faults() - first
    cost()
    print(cost())
    assert keep_memory() is None
    cost()
    print(cost())
    """
    before, after = map(int, _output(script))
    pages = 20 * 40 * _MIB // os.sysconf("SC_PAGE_SIZE")
    assert before > pages / 2
    assert after < pages / 20


@pytest.mark.release  # whatever Python keeps at the end of the heap holds all below it
def test_free_memory_beyond_the_bound_goes_back() -> None:
    # By malloc itself, and nothing is read meanwhile: what Python allocates at the end of the heap would keep the rest.
    script = """
    import ctypes
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    size = 64 * 2**20
    keep_memory()
    blocks = [0] * 24
    base = resident()
    for number in range(24):
        blocks[number] = libc.malloc(size)
        ctypes.memset(blocks[number], 1, size)
    for number in range(23, -1, -1):
        libc.free(blocks[number])
    left = resident()
    print(base, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, left)
    """
    base, peak, left = map(int, _output(script)[0].split())
    assert peak - base > 1500 * _MIB
    assert left - base < allocator.KEPT + 64 * _MIB


@pytest.mark.parametrize("asked", [False, True])
def test_a_runtime_keeps_memory_where_it_is_asked_to(asked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    monkeypatch.setattr("pellucid.run.explainer.keep_memory", lambda: calls.append("kept"))
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.Flatten(1), torch.nn.Linear(4 * 36, 2)).eval()
    explainer = pellucid.Explainer(model, layers=["0"], runtime=pellucid.Runtime(keep_memory=asked))
    assert not calls
    explainer(torch.rand(1, 1, 8, 8))
    assert bool(calls) == asked


@pytest.mark.parametrize(
    ("variables", "part"),
    [
        ({"MALLOC_MMAP_MAX_": "0"}, "MALLOC_MMAP_MAX_"),
        ({"MALLOC_TRIM_THRESHOLD_": "1000"}, "MALLOC_TRIM_THRESHOLD_"),
        ({"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}, "GLIBC_TUNABLES"),
        ({"GLIBC_TUNABLES": "glibc.rtld.nns=4"}, "None"),
        ({}, "None"),
    ],
)
def test_what_the_user_states_stays(variables: dict[str, str], part: str) -> None:
    (found,) = _output("print(unsupported())", **variables)
    assert part in found


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "confstr", lambda name: None)
    assert allocator.unsupported() == "it needs Linux with glibc"
    monkeypatch.delattr(os, "confstr")
    assert allocator.unsupported() == "it needs Linux with glibc"


def test_another_allocator_is_left_alone(tmp_path: Path) -> None:
    """A library that defines an allocator's functions is loaded before glibc, as jemalloc is."""
    source, library = tmp_path / "own.c", tmp_path / "own.so"
    source.write_text(
        "#include <stddef.h>\nextern void *__libc_malloc(size_t);\n"
        "void *malloc(size_t size) { return __libc_malloc(size); }\n"
        "size_t malloc_usable_size(void *block) { (void)block; return 0; }\n"
    )
    try:
        subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("there is no C compiler")
    (found,) = _output("print(unsupported())", LD_PRELOAD=str(library))
    assert found == "another allocator is loaded"


def test_the_command_line_keeps_memory() -> None:
    script = """
    from pellucid.cli import main
    main.app = lambda **_: print(keep_memory.cache_info().currsize)
    main.run()
    """
    assert _output(script) == ["1"]
