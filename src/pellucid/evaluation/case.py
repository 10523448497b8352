"""A case of a data set: an image, and what is stated of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from torch import Tensor

from pellucid.core.image import Image


class Outline(Protocol):
    """Where a finding is, as a data set states it: a mask, boxes, polygons, run lengths or a segmentation object.

    It is a frozen dataclass, so that two that are equal state the same.
    """

    def mask(self, image: Image) -> Tensor:
        """Whether each pixel of the image, as it was read, belongs to the finding: (*space) bool on the CPU.

        Raises:
            DataError: it is missing, cannot be read, or does not fit the image. The message is the reason for which
                the case is excluded, without the case's name.
        """


class Source(Protocol):
    """What an image is read from."""

    def image(self) -> Image:
        """The image as it was read. ``PellucidError``: it cannot be read."""

    def digest(self) -> str | None:
        """The SHA-256 of what it is read from; None where it cannot be read."""


@dataclass(frozen=True)
class Case:
    """An image of a data set, and what is stated of it.

    ``name`` is what reports call it: unique, such as its path in the data set. ``labels`` are the classes that it is
    stated to have; None: nothing is stated. ``findings`` says where they are, by label; "" is the label of a finding of
    unknown class. ``patient`` is whose it is, ``split`` the part of the data set that it belongs to, and ``groups``
    what subgroups it is in, by the name of the column. ``maps`` are files of maps made before, by method.
    """

    name: str
    source: Source
    labels: tuple[str, ...] | None = None
    findings: Mapping[str, Outline] = field(default_factory=dict)
    patient: str | None = None
    split: str | None = None
    groups: Mapping[str, str] = field(default_factory=dict)
    maps: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True)
class Exclusion:
    """A case, or one finding of a case, that is not analysed. ``reason`` is the same text for all of its kind.

    ``failed``: its image or its mask is broken, does not fit, or the model fails on it. That is an error; a case
    without a mask, or with an empty one, is not.

    >>> print(Exclusion("b.png", "its mask has another size than the image", "20 × 20; the image has 32 × 32"))
    b.png: its mask has another size than the image (20 × 20; the image has 32 × 32)
    """

    name: str
    reason: str
    detail: str = ""
    """What is known beyond the reason, such as the size that a mask has."""
    failed: bool = field(default=False, repr=False)

    def __str__(self) -> str:
        """One line: its name, the reason, and what is known beyond it."""
        if f"{self.name}:" in self.detail:
            return self.detail
        return f"{self.name}: {self.reason}" + (f" ({self.detail})" if self.detail else "")


def reasons_of(excluded: Sequence[Exclusion], others: Sequence[str] = ()) -> str:
    """Why cases are excluded, each reason once, and the first failure: for a message that nothing is left."""
    failures = [f"the first: {one}" for one in excluded if one.failed][:1]
    return "; ".join([*dict.fromkeys(one.reason for one in excluded), *others, *failures])


@dataclass(frozen=True)
class Data:
    """A data set: its cases, those that are excluded before any is read, and what has to be known of it.

    ``form`` is the name of its source, such as "csv". ``notes`` are whole sentences for the report, such as how
    patients were told apart. ``drawn``: the images are phantoms.
    """

    cases: Sequence[Case]
    excluded: Sequence[Exclusion] = ()
    form: str = ""
    notes: Sequence[str] = ()
    drawn: bool = False
