"""How long a call takes beside another, and how much memory: what the speed benchmark measures with."""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

Call = Callable[[], object]
Answer = TypeVar("Answer")
_PROCESS = Path("/proc/self")


@dataclass(frozen=True)
class Ratio:
    """The time of a call over another's: the median of pairs that were taken in turn, and the quartiles."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        """As a table shows it."""
        return f"{self.median:.2f} ({self.low:.2f}–{self.high:.2f})"


def ratio(base: Call, other: Call, pairs: int) -> Ratio:
    """How long ``other`` takes for each second that ``base`` takes, each run once before."""
    seconds(base)
    seconds(other)
    each = [(seconds(base), seconds(other)) for _ in range(pairs)]
    found = [second / first for first, second in each]
    low, median, high = statistics.quantiles(found, n=4) if pairs > 1 else found * 3
    return Ratio(median, low, high)


def seconds(call: Call) -> float:
    """How long a call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def taken(call: Call) -> float:
    """Bytes that the process takes during a call at most, beyond those before. Linux; elsewhere NaN."""
    if not _PROCESS.exists():
        return float("nan")
    (_PROCESS / "clear_refs").write_text("5")  # the peak is the present from now on
    before = _status("VmRSS")
    call()
    return _status("VmHWM") - before


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


def alone(function: Callable[..., Answer], *arguments: object) -> Answer:
    """What a function answers in a process of its own, in which nothing ran before."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)
