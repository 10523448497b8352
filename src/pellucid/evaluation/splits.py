"""Which images are scored: the splits of a data set, by what a plan uses them for."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from pellucid.errors import DataError, did_you_mean
from pellucid.evaluation.measured import Column, Measured, Seen
from pellucid.evaluation.plan import EvaluationPlan

_SHOWN = 3
"""So many examples are named in a message."""


@dataclass(frozen=True, eq=False)
class Split:
    """What is scored, and how many images of the other splits there are, by the split's use."""

    test: Measured
    other: Mapping[str, int]


def split_of(measured: Measured, plan: EvaluationPlan) -> Split:
    """What a plan scores; all of it where the plan names no split.

    Raises:
        DataError: a patient is in two splits, or the plan names a split that no image is in.
    """
    found = uses_of(measured.images, plan)
    if all(use == "test" for use in found):
        return Split(_finite(measured), {})
    other = Counter(use for use in found if use != "test")
    test = of_images(measured, [use == "test" for use in found])
    return Split(test, dict(sorted(other.items())))


def uses_of(images: Sequence[Seen], plan: EvaluationPlan) -> list[str]:
    """What a plan uses each image for: "test", "choose", "calibrate" or "none"; "test" where it names no split.

    Raises:
        DataError: as for ``split_of``.
    """
    check_patients(images)
    uses = {name: use for use, names in _uses(plan).items() for name in names}
    _check_named(uses, images)
    return [uses.get(image.split or "", "none") if uses else "test" for image in images]


def check_patients(images: Sequence[Seen]) -> None:
    """Raise ``DataError`` if a patient is in two splits: what is learnt or chosen on one would be scored on itself."""
    found: dict[str, set[str]] = defaultdict(set)
    for image in images:
        found[image.patient].update([image.split] if image.split else [])
    both = [patient for patient, splits in found.items() if len(splits) > 1]
    if both:
        names = ", ".join(both[:_SHOWN]) + (", …" if len(both) > _SHOWN else "")
        count = f"1 patient is ({names})" if len(both) == 1 else f"{len(both)} patients are ({names})"
        raise DataError(f"splits must not share patients; {count} in two: put all images of a patient into one split")


def _uses(plan: EvaluationPlan) -> dict[str, Sequence[str]]:
    return {"choose": plan.choose, "test": plan.test, "calibrate": plan.calibrate}


def _check_named(uses: Mapping[str, str], images: Sequence[Seen]) -> None:
    known = sorted({image.split for image in images if image.split})
    for name, use in uses.items():
        if name not in known:
            there = f"its splits are {', '.join(known)}" if known else "it states no splits"
            hint = did_you_mean(name, known)
            raise DataError(
                f"the plan's {use} names the split {name!r}, which no case of the data set is in; {there}{hint}"
            )


def of_images(measured: Measured, kept: Sequence[bool]) -> Measured:
    """What was measured of some of the images: ``kept`` says of each whether it is one of them."""
    images = np.flatnonzero(kept).tolist()
    number = {old: new for new, old in enumerate(images)}
    chosen = np.array([finding.image in number for finding in measured.findings], dtype=bool)
    rows, without = np.flatnonzero(chosen), np.array([one in number for one in measured.without], dtype=bool)
    return _finite(
        replace(
            measured,
            images=[measured.images[one] for one in images],
            findings=[replace(one, image=number[one.image]) for one in measured.findings if one.image in number],
            values={
                target: {method: _rows(columns, rows) for method, columns in methods.items()}
                for target, methods in measured.values.items()
            },
            overlaps={method: table[rows] for method, table in measured.overlaps.items()},
            partners=_renumbered(measured.partners, rows),
            shuffled=_rows(measured.shuffled, rows),
            reshuffled=_rows(measured.reshuffled, rows),
            untrained=_rows(measured.untrained, rows),
            without=[number[one] for one in measured.without if one in number],
            lesion_free={method: _rows(columns, without) for method, columns in measured.lesion_free.items()},
            even=_rows(measured.even, without),
            gates={method: _gates(columns, chosen) for method, columns in measured.gates.items()},
        )
    )


def _rows(columns: Mapping[str, Column], rows: npt.NDArray[np.intp] | npt.NDArray[np.bool_]) -> dict[str, Column]:
    return {name: column[rows] for name, column in columns.items()}


def _gates(columns: Mapping[str, Column], chosen: npt.NDArray[np.bool_]) -> dict[str, Column]:
    """Those of the chosen findings where there is a value for each; else of the few that were measured."""
    return {name: column[chosen] if len(column) == len(chosen) else column for name, column in columns.items()}


def _renumbered(partners: npt.NDArray[np.int64], rows: npt.NDArray[np.intp]) -> npt.NDArray[np.int64]:
    """The partners of the chosen findings; −1 for one that is not among them."""
    if not len(partners):
        return partners
    number = np.full(len(partners) + 1, -1, dtype=np.int64)
    number[rows] = np.arange(len(rows))
    return number[partners[rows]]  # −1 is the last entry


def _finite(measured: Measured) -> Measured:
    """The same, with NaN for values that are not finite: no mean is defined with them."""
    return replace(
        measured,
        values={
            target: {method: dict(_clean(columns)) for method, columns in methods.items()}
            for target, methods in measured.values.items()
        },
        shuffled=dict(_clean(measured.shuffled)),
        reshuffled=dict(_clean(measured.reshuffled)),
        untrained=dict(_clean(measured.untrained)),
        lesion_free={method: dict(_clean(columns)) for method, columns in measured.lesion_free.items()},
        gates={method: dict(_clean(columns)) for method, columns in measured.gates.items()},
    )


def _clean(columns: Mapping[str, Column]) -> Iterator[tuple[str, Column]]:
    for name, column in columns.items():
        values = np.asarray(column, dtype=np.float64)
        yield name, np.where(np.isfinite(values), values, np.nan)
