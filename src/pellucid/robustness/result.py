"""``Robustness``: how far answers and maps of a data set move, as plain values for files and pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pellucid.evaluation.case import Exclusion
from pellucid.evaluation.unit import Unit, unit_of
from pellucid.robustness.plan import RobustnessPlan
from pellucid.statistics import Interval

MOVED, CHANGE, HIT, EMPTY = "answer moved", "probability change", "hit rate", "degenerate"
"""The figures beside the comparisons of maps."""


@dataclass(frozen=True)
class Level:
    """A method after a change at one level.

    ``figures`` has the comparisons of maps before and after, and ``MOVED``, the share of answers that moved;
    ``CHANGE``, the mean size of the change of the class's probability; ``HIT``, the share of maps whose peak is in the
    mask of the class; ``EMPTY``, the share of maps that show nothing.
    """

    method: str
    change: str
    level: float
    figures: Mapping[str, Interval]


@dataclass(frozen=True)
class Together:
    """Whether answers and maps move together under attacks, by the rank correlation of the sizes of both changes.

    Over all images, attacks and budgets above 0, where the answer ``moved`` and where it was ``held``: Spearman's ρ of
    |p′ − p|, of the class that was predicted, and 1 − SSIM of its maps before and after (after Zhang et al. 2023,
    doi:10.1148/ryai.220221).
    """

    method: str
    moved: Interval
    held: Interval


@dataclass(frozen=True)
class Worst:
    """The worst case that was found of a method and a change: the image, and the level.

    ``kind`` is "map moved": the least SSIM with the map before where the answer held; or "answer moved": the largest
    SSIM where the answer moved, so that the map tells nothing of it.
    """

    kind: str
    method: str
    change: str
    level: float
    image: str
    ssim: float


@dataclass(frozen=True)
class Robustness:
    """All that is stated, in its order. ``write`` makes files of it.

    ``clean[method]`` has ``HIT`` and ``EMPTY`` before any change; ``between[method]`` the comparisons of maps of
    different images, of two patients, with the same predicted class. ``units[change]`` says what levels are,
    ``attacks`` which changes are searched for. ``excluded`` maps a reason to the names that it is true of, ``missing``
    why maps are missing to how often.
    """

    plan: RobustnessPlan
    given: int
    images: int
    patients: int
    masked: int
    excluded: Mapping[str, Sequence[str]]
    units: Mapping[str, str]
    attacks: Sequence[str]
    clean: Mapping[str, Mapping[str, Interval]]
    between: Mapping[str, Mapping[str, Interval]]
    levels: Sequence[Level]
    together: Sequence[Together] = ()
    worst: Sequence[Worst] = ()
    missing: Mapping[str, int] = field(default_factory=dict)
    notes: Sequence[str] = ()
    limits: Sequence[str] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    patients_stated: bool = True
    """Whether the patient of every image is stated; else the units of all statistics are distinct images."""
    scores: Sequence[Mapping[str, Any]] = ()
    """The rows of scores.csv: one an image, method, change and level."""
    failures: Sequence[Exclusion] = field(default=(), compare=False, repr=False)
    """The images and masks that are broken or do not fit, with paths: no file has them."""

    @property
    def unit(self) -> Unit:
        """What the units of all statistics are called."""
        return unit_of(self.patients_stated)

    @property
    def methods(self) -> list[str]:
        """The methods, in their order."""
        return list(self.clean)

    @property
    def changes(self) -> list[str]:
        """The changes, in their order."""
        return list(self.units)

    def at(self, method: str, change: str) -> list[Level]:
        """A method after a change, at growing levels."""
        return [one for one in self.levels if (one.method, one.change) == (method, change)]
