"""What files come to beside another reader, in words that do not depend on one file."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks import results

Array = np.ndarray[Any, Any]
ROUNDING = 1e-6
"""Relative difference that float32 explains."""
EQUAL, BOTH, OURS, THEIRS, UNEXPLAINED = (
    "the same values",
    "refused by both: ",
    "refused here: ",
    "read here only: ",
    "not explained",
)


def kind_of(reason: str) -> str:
    """A reason without what belongs to one file: names, numbers, remedies, and what a decoder says."""
    short = re.sub(r"(cannot be decoded|is expected|which is not read).*", r"\1", " ".join(reason.split()))
    short = re.sub(r".*ERROR: ", "", short)  # SimpleITK's errors begin with places in its own source
    short = re.sub(r"Unable to (decode|decompress) .*", "no installed decoder reads the pixels", short)
    short = re.sub(r"Unable to determine ImageIO reader .*", "the build has no reader of the format", short)
    return re.sub(r"(?<!MINC )\d+", "…", re.sub(r"'[^']*'|\([^)]*\)+", "…", short))


def was_read(outcome: str) -> bool:
    """Whether a file was read here."""
    return not outcome.startswith((BOTH, OURS))


def table(counts: dict[str, Counter[str]]) -> str:
    """A table of outcomes, with a column for each reader."""
    outcomes = sorted({outcome for each in counts.values() for outcome in each}, key=lambda text: (text != EQUAL, text))
    rows = [[outcome, *(str(each[outcome] or "") for each in counts.values())] for outcome in outcomes]
    return results.table(["outcome", *(f"beside {name}" for name in counts)], rows)


def packages_table(packages: Sequence[tuple[str, Sequence[int]]], kinds: Sequence[str]) -> str:
    """A table of packages: of each kind of file how many there are, and how many of them were read."""
    header = ["package", *(f"{kind}{suffix}" for kind in kinds for suffix in ("", ", read"))]
    return results.table(header, [[name, *(str(count or "") for count in counts)] for name, counts in packages])
