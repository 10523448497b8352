"""The grade of a map in words, and what a grade was measured to be worth: the file ``grade.json`` beside this one.

``python -m benchmarks.grade_worth`` writes it. It says nothing of other images than the drawn radiographs.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pellucid.core.explanation import Explanation
from pellucid.core.replacement import LEAST_FALL

GRADE = "grade"
"""The name of the check; ``pellucid.run.checks`` has its formula."""
TOP = 0.02
"""The fraction of the pixels that a map marks: its highest above 0."""
FILE = Path(__file__).with_suffix(".json")
UNMEASURED = "its worth is not measured here"
WORTH = "grade_worth"
"""The entry of an explanation's provenance: a ``Worth`` as plain values, or None where it is not measured."""
_DRAWN = "pellucid.phantom:"
"""How the specification of a network of drawn radiographs begins."""
_CHANCE = 0.5
_SHARE = f"{TOP:.0%}".replace("%", " %")
_NOT_LOWERED = f"blurring the whole image does not lower the probability by {LEAST_FALL}: no grade"
_NOT_MARKED = "the map marks nothing: no grade"


@dataclass(frozen=True)
class Worth:
    """How well grades told maps whose peak hits the finding from those whose peak misses: AUROC, 95 % interval, counts.

    Read the other way round: a lower grade tells a miss.
    """

    auroc: float
    low: float
    high: float
    maps: int
    misses: int

    @property
    def text(self) -> str:
        """One sentence; an AUROC that may be .5 tells nothing."""
        figures = f"AUROC {self.auroc:.2f} ({self.low:.2f} to {self.high:.2f})"
        if self.low > _CHANCE:
            return f"on drawn radiographs, a lower grade tells maps whose peak misses with {figures}"
        if self.high < _CHANCE:
            return f"on drawn radiographs, maps whose peak misses have higher grades: {figures}"
        return f"on drawn radiographs, the grade does not tell maps whose peak misses: {figures}"


def measured_worth(method: str, spec: str | None) -> dict[str, Any] | None:
    """The measured worth of a method's grades as plain values, of this network where it was measured.

    Else the mean of the measured networks. None of a method that was not measured, as methods differ by far, and of a
    network (by its specification) that is not one of ``pellucid.phantom``.

    >>> measured_worth("gradcam", "torchvision:resnet18") is None
    True
    """
    if not (spec or "").startswith(_DRAWN):
        return None
    names = (f"{str(spec).removeprefix(_DRAWN)}/{method}", method)
    row = next((_rows()[name] for name in names if name in _rows()), None)
    return None if row is None else asdict(Worth(**row))


@cache
def _rows() -> Mapping[str, Mapping[str, Any]]:
    found: Mapping[str, Mapping[str, Any]] = json.loads(FILE.read_text(encoding="utf-8"))
    return found


def grade_of(explanation: Explanation, image: int = 0, column: int = 0) -> float | None:
    """The grade of a map; None where it was not asked for, or the map has none."""
    value = float(explanation.checks[GRADE][image, column]) if GRADE in explanation.checks else math.nan
    return value if math.isfinite(value) else None


def grade_text(explanation: Explanation, image: int = 0, column: int = 0) -> str | None:
    """What a map's grade says, in one sentence; None where it was not asked for."""
    if GRADE not in explanation.checks:
        return None
    value, empty = float(explanation.checks[GRADE][image, column]), bool(explanation.degenerate[image, column])
    return sentence(value, empty=empty)


def sentence(value: float, *, empty: bool) -> str:
    """A grade in words; ``empty``: the map shows nothing.

    >>> sentence(0.94, empty=False)
    'blurring the marked 2 % takes away 94 % of what blurring the whole image does'
    """
    if empty or not math.isfinite(value):
        return _NOT_MARKED if empty else _NOT_LOWERED
    percent = round(100 * value)
    if percent < 0:
        return f"blurring the marked {_SHARE} adds {-percent} % of what blurring the whole image takes away"
    return f"blurring the marked {_SHARE} takes away {percent} % of what blurring the whole image does"


def worth_text(explanation: Explanation, image: int = 0, column: int = 0) -> str | None:
    """What the grade of a map was measured to be worth, in one sentence; None where the map has none."""
    if grade_of(explanation, image, column) is None:
        return None
    worth = _worth(explanation)
    return UNMEASURED if worth is None else worth.text


def caption_text(explanation: Explanation, image: int = 0, column: int = 0) -> str | None:
    """The grade and its worth as a part of a caption; None where it was not asked for."""
    if GRADE not in explanation.checks:
        return None
    value = grade_of(explanation, image, column)
    if value is None:
        return grade_text(explanation, image, column)
    worth = _worth(explanation)
    beside = "worth not measured here" if worth is None else f"AUROC for a missed peak {worth.auroc:.2f}"
    return f"blur of the marked {_SHARE}: {round(100 * value)} % of the whole image's ({beside})"


def _worth(explanation: Explanation) -> Worth | None:
    """The worth that the provenance states; None where it states none, or a file states something else."""
    stored = explanation.provenance.get(WORTH)
    numbers = [stored.get(name) for name in Worth.__annotations__] if isinstance(stored, Mapping) else [None]
    is_stated = all(isinstance(number, int | float) for number in numbers)
    return Worth(*numbers) if is_stated else None
