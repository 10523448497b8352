"""Arranges slices and frames in the order of their positions; what is not one volume is refused, or chosen from."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from pydicom import Dataset
from torch import Tensor

from pellucid.io.dicom_dimensions import chosen, example, telling
from pellucid.io.dicom_frames import MOST_ROUNDING, plane, rounding
from pellucid.io.refusal import refused
from pellucid.io.selection import Select, no_such, several

_TOLERANCE = 0.02
"""Allowed deviation of the distances between slices, as a share of their median."""
_SAME = 1e-3
"""Distance, in mm, below which positions are the same."""

_MOST_CHOICES = 2**17
"""Frames with headers of their own among which is selected: each takes some 0.1 ms."""
_MOST_TOGETHER = 2**16
"""Frames of a file that are read together: each takes some 0.1 ms, however small it is."""

Plane = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True, eq=False)
class Slice:
    """One frame of a DICOM file: the path, the frame's number from 1 in the object of ``count``, and its header."""

    path: Path
    header: Dataset
    number: int = 1
    count: int = 1

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.path.name if self.count == 1 else f"frame {self.number} of {self.path.name}"


def selected(where: Path, slices: Sequence[Slice], select: Select) -> list[Slice]:
    """The slices that have the selected values.

    Raises:
        ImageError: none has, or too many of one file have.
    """
    kept, missing = chosen([one.header for one in slices], select)
    if missing is not None:
        raise no_such(where, *missing)
    found = [slices[index] for index in kept]
    for path, frames in Counter(one.path for one in found).items():
        _check_together(where, path, frames, f"{frames:,} of its frames are selected", can_choose=True)
    return found


def check_choice(where: Path, path: Path, frames: int, own: int, select: Select) -> None:
    """Check, before there is a header for each, that not too many of a file's frames are read or chosen from.

    ``own`` of the ``frames`` have headers of their own; of the others a selection takes all or none.

    Raises:
        ImageError: there are too many.
    """
    can_choose = 0 < own <= _MOST_CHOICES
    least = frames - own if select and can_choose else frames
    _check_together(where, path, least, f"it has {frames:,} frames", can_choose)


def _check_together(where: Path, path: Path, frames: int, what: str, can_choose: bool) -> None:
    if frames <= _MOST_TOGETHER:
        return
    choose = "give select= for those of one time, echo or other dimension, or " if can_choose else ""
    alone = f"{'' if choose else 'give '}frame= for one" if where == path else "read it by itself, with frame= for one"
    raise refused(path, f"{what}; at most {_MOST_TOGETHER:,} are read together: {choose}{alone}")


def in_order(where: Path, slices: Sequence[Slice]) -> list[Slice]:
    """The slices ordered along the normal of their planes, after checking that they are parallel and equally spaced.

    Raises:
        ImageError: they are not, or several are at a position; or one does not state its position.
    """
    planes = [_plane(where, one) for one in slices]
    _check_parallel(where, slices, planes)
    heights, normal = _heights(planes)
    _check_single(where, slices, planes)
    order = sorted(range(len(slices)), key=heights.__getitem__)
    ordered = [slices[index] for index in order]
    uncertain = float((rounding([one.header for one in slices]) * normal.abs()).sum())
    _check_even(where, ordered, [heights[index] for index in order], uncertain)
    return ordered


def frames_in_order(where: Path, frames: Sequence[Slice]) -> list[Slice]:
    """The frames of one object in the order of their positions; as they are stored where they are not a stack.

    Raises:
        ImageError: several are at a position.
    """
    planes = [plane(one.header) for one in frames]
    known = [one for one in planes if one is not None]
    if len(known) < len(frames) or any(_differ(one, known[0]) for one in known):
        return list(frames)
    if len({_position(one) for one in known}) == 1:  # a film of one plane
        return _as_film(where, frames, known)
    _check_single(where, frames, known)
    heights, _ = _heights(known)
    return [frames[index] for index in sorted(range(len(frames)), key=heights.__getitem__)]


def _as_film(where: Path, frames: Sequence[Slice], planes: Sequence[Plane]) -> list[Slice]:
    """Frames of one plane: refused if the object says what tells them apart, else as they are stored."""
    if len(frames) > 1 and telling([one.header for one in frames], [_position(one) for one in planes]):
        _check_single(where, frames, planes)
    return list(frames)


def _plane(where: Path, one: Slice) -> Plane:
    found = plane(one.header)
    if found is None:
        raise refused(where, f"{one.name} does not state its position, orientation and spacing: read it by itself")
    return found


def _differ(one: Plane, other: Plane) -> bool:
    """Whether two planes have another orientation or spacing."""
    return not all(torch.allclose(own, its, atol=1e-3) for own, its in zip(one[1:], other[1:], strict=True))


def _check_parallel(where: Path, slices: Sequence[Slice], planes: Sequence[Plane]) -> None:
    other = next((index for index, one in enumerate(planes) if _differ(one, planes[0])), None)
    if other is not None:
        raise refused(
            where,
            f"{slices[other].name} has another orientation or spacing than {slices[0].name}: "
            f"put each kind into a folder of its own",
        )


def _heights(planes: Sequence[Plane]) -> tuple[list[float], Tensor]:
    """The positions along the normal of the planes, and the normal."""
    _, along, down = planes[0]
    normal = torch.linalg.cross(along, down)
    normal = normal / normal.norm()
    return [float(position @ normal) for position, *_ in planes], normal


def _position(one: Plane) -> tuple[int, ...]:
    return tuple(int(number) for number in (one[0] / _SAME).round().tolist())


def _check_single(where: Path, slices: Sequence[Slice], planes: Sequence[Plane]) -> None:
    """Refuse several slices at a position: with the values that tell them apart, or by their names."""
    positions = [_position(one) for one in planes]
    most = max(Counter(positions).values())
    if most == 1:
        return
    values = telling([one.header for one in slices], positions)
    choice = example(values, positions)
    kept = [index for index in range(len(slices)) if all(values[name][index] == choice[name] for name in choice)]
    if choice and len({positions[index] for index in kept}) == len(kept):
        what = f"up to {most} of its {len(slices)} slices are at the same position"
        raise several(where, what, values, choice)
    at = defaultdict(list)
    for one, position in zip(slices, positions, strict=True):
        at[position].append(one)
    first, second, *_ = next(each for each in at.values() if len(each) > 1)
    cure = "remove one of them" if first.path != second.path else f"give frame={first.number}"
    raise refused(where, f"{first.name} and {second.name} have the same position: {cure}")


def _check_even(where: Path, slices: Sequence[Slice], heights: Sequence[float], uncertain: float) -> None:
    """Refuse gaps; ``uncertain`` is how far a height may be off because it is rounded."""
    if len(slices) == 1:
        return
    steps = torch.tensor(heights, dtype=torch.float64).diff()
    usual = float(steps.median())
    allowed = max(_TOLERANCE * usual, 0.01) + min(2 * uncertain, MOST_ROUNDING * usual)
    for index, step in enumerate(steps.tolist()):
        between = f"{slices[index].name} and {slices[index + 1].name}"
        if step < _TOLERANCE * max(usual, _SAME):
            raise refused(where, f"{between} have the same position: remove one of them")
        if abs(step - usual) > allowed:
            raise refused(
                where,
                f"{between} are {step:.2f} mm apart, others {usual:.2f}: a slice is missing or surplus; "
                f"complete the series, or explain its slices one by one",
            )
