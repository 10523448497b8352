"""Measures the duration of a call relative to another, and the memory that it uses."""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

Call = Callable[[], object]
Result = TypeVar("Result")
_PROCESS = Path("/proc/self")


@dataclass(frozen=True)
class Ratio:
    """The duration of a call over another's: the median and quartiles of alternating pairs."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        """The median with the quartiles, for a table."""
        return f"{self.median:.2f} ({self.low:.2f}–{self.high:.2f})"


def ratio(base: Call, other: Call, pairs: int) -> Ratio:
    """The duration of ``other`` over that of ``base``, after one run of each to warm up."""
    return ratio_of(paired(base, other, pairs))


def paired(base: Call, other: Call, pairs: int) -> list[tuple[float, float]]:
    """The durations of both in seconds, alternating, after one run of each to warm up."""
    seconds(base)
    seconds(other)
    return [(seconds(base), seconds(other)) for _ in range(pairs)]


def ratio_of(durations: Sequence[tuple[float, float]]) -> Ratio:
    """The second duration of each pair over the first."""
    found = [second / first for first, second in durations]
    low, median, high = statistics.quantiles(found, n=4) if len(found) > 1 else found * 3
    return Ratio(median, low, high)


def seconds(call: Call) -> float:
    """The duration of a call in seconds."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def finished(call: Call, device: str) -> Call:
    """The call until its work is done: a GPU works on after it has returned."""
    if device == "cpu":
        return call

    def until_done() -> None:
        call()
        torch.cuda.synchronize(device)

    return until_done


def memory_growth(call: Call) -> float:
    """The peak growth of the process during a call, in bytes; NaN on systems other than Linux."""
    if not _PROCESS.exists():
        return float("nan")
    (_PROCESS / "clear_refs").write_text("5")  # resets the peak to the current size
    before = _status("VmRSS")
    call()
    return _status("VmHWM") - before


def peak_memory(call: Call) -> float:
    """The peak of the process's memory during a call, in bytes; NaN on systems other than Linux."""
    if _PROCESS.exists():
        (_PROCESS / "clear_refs").write_text("5")
    call()
    return _status("VmHWM") if _PROCESS.exists() else float("nan")


def _status(name: str) -> float:
    lines = (_PROCESS / "status").read_text().splitlines()
    return next(float(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def forward(model: nn.Module, images: Tensor) -> Call:
    """The plain prediction."""

    def call() -> Tensor:
        with torch.no_grad():
            logits: Tensor = model(images)
        return logits

    return call


def in_new_process(function: Callable[..., Result], *arguments: object) -> Result:
    """The result of a function that runs in a new process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)
