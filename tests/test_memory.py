"""The memory measurements that other tests rely on detect what they should."""

from __future__ import annotations

import mmap

import pytest
import torch

from tests import memory
from tests.memory import peak, resident

MEBIBYTE = 2**20


@pytest.mark.skipif(not memory.STATM.exists(), reason="the system reports no current size of a process")
def test_a_leak_after_a_higher_peak_is_seen() -> None:
    """A lifetime maximum, such as ``ru_maxrss``, reports no growth here."""
    # Pages of the system's, since an allocator may give memory again that other tests have freed.
    written(256).close()  # the peak: created and freed at once
    before = resident()
    leak = written(64)
    assert resident() - before > 48 * MEBIBYTE
    leak.close()
    assert resident() - before < 16 * MEBIBYTE


def written(mebibytes: int) -> mmap.mmap:
    """New memory of the process, all of it in use."""
    pages = mmap.mmap(-1, mebibytes * MEBIBYTE)
    pages.write(b"1" * len(pages))
    return pages


def test_without_the_file_the_size_is_zero(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setattr(memory, "STATM", tmp_path / "statm")
    assert resident() == 0


def test_the_peak_is_that_of_tensors_alive_at_one_time() -> None:
    def one_after_the_other() -> None:
        for _ in range(10):
            torch.ones(1024)

    assert peak(one_after_the_other) == 4096
    assert peak(lambda: [torch.ones(1024) for _ in range(10)]) == 10 * 4096
