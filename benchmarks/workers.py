"""Judges networks in worker processes, so that one that hangs, crashes or exhausts memory fails alone."""

from __future__ import annotations

import multiprocessing
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from typing import Any

from benchmarks.verdict import Verdict, judged

READY = "ready"
STARTING = 120.0
"""Seconds that a process may take to start and import."""
MEMORY = 9.0
"""The memory limit of a process in GiB."""
LARGE = 3 * 2**30
"""The size in bytes beyond which a process is replaced."""


Judge = Callable[[str], Verdict]


def judgements(
    specs: Sequence[str], limit: float, workers: int, judge: Judge = judged, memory: float = MEMORY
) -> Iterator[tuple[str, Verdict]]:
    """The verdict on each network, in the order of completion.

    ``limit`` is the time for one, in seconds, and ``memory`` that of a process, in GiB.
    """
    todo: queue.SimpleQueue[str] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[str, Verdict]] = queue.SimpleQueue()
    for spec in specs:
        todo.put(spec)
    for _ in range(workers):
        threading.Thread(target=_serve, args=(todo, done, _Worker(judge, memory), limit), daemon=True).start()
    for _ in specs:
        yield done.get()


def _serve(
    todo: queue.SimpleQueue[str], done: queue.SimpleQueue[tuple[str, Verdict]], worker: _Worker, limit: float
) -> None:
    while True:
        try:
            spec = todo.get_nowait()
        except queue.Empty:
            worker.stop()
            return
        done.put((spec, worker.judge(spec, limit)))


class _Worker:
    """A process that judges one network after the other, and is restarted when it ends."""

    def __init__(self, judge: Judge, memory: float) -> None:
        self._judge = judge
        self._memory = int(memory * 2**30)
        self._process: Any = None
        self._pipe: Connection

    def judge(self, spec: str, limit: float) -> Verdict:
        try:
            if self._process is None:
                self._start()
            self._pipe.send(spec)
            if not self._pipe.poll(limit):
                self.stop()
                return Verdict(False, f"took more than {limit:.0f} s")
            verdict, used = self._pipe.recv()
        except (EOFError, OSError):
            self.stop()
            return Verdict(False, "the process ended, probably out of memory")
        if used > LARGE:
            self.stop()
        return verdict  # type: ignore[no-any-return]  # the type that _work sends

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process = None

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=_work, args=(other, self._judge, self._memory), daemon=True)
        self._process.start()
        other.close()
        if not self._pipe.poll(STARTING) or self._pipe.recv() != READY:
            raise EOFError


def _work(pipe: Connection, judge: Judge, memory: int) -> None:
    import resource
    import warnings

    import torch

    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    pipe.send(READY)
    while True:
        verdict = judge(pipe.recv())
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        pipe.send((verdict, used))
