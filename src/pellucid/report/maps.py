"""What the page and the tables show of a map: what is known of it, without anybody's identity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pellucid.core.caption import class_text

AXES = ("slice", "row", "column")
"""The axes of a position in an image."""


def split_labels(text: str) -> list[str]:
    """Labels that are separated by semicolons."""
    return [label.strip() for label in text.split(";") if label.strip()]


@dataclass(frozen=True)
class Prediction:
    """What the model predicts for an image: its most probable classes, the first of them predicted, or values.

    ``figures`` are names with probabilities, or with values. ``index`` is the predicted class's number.
    """

    head: str = ""
    index: int | None = None
    figures: tuple[tuple[str, float | None], ...] = ()
    are_values: bool = False

    @property
    def name(self) -> str:
        """The predicted class, or the name of the first value."""
        return self.figures[0][0] if self.figures else ""

    @property
    def figure(self) -> float | None:
        """Its probability, or the value."""
        return self.figures[0][1] if self.figures else None


@dataclass(frozen=True)
class Map:
    """One map: a class of an image that was explained by a method.

    ``image`` is the input file as it was named, ``part`` which image of a sequence it is. ``folder`` is where the map's
    files are, relative to the folder that was read, and ``files`` their names; ``overlay`` is one of them. ``position``
    is where the evidence is strongest, in pixels of the input file, by the names of the axes; ``shape`` is its size.
    ``evidence`` is the largest attribution, unscaled; ``degenerate`` is why the map shows nothing; ``share`` is how
    much of the score passes through the layers; ``grade`` and ``worth`` are the map's grade in words, and what it was
    measured to be worth. ``is_correct``: whether the predicted class is a label; None where no
    label names a class of the model. ``settings`` are what the map was made with; ``source`` tells images and models
    apart.
    """

    image: str
    method: str
    folder: Path
    layers: tuple[str, ...] = ()
    index: int | None = None
    name: str = ""
    probability: float | None = None
    value: float | None = None
    logit: float | None = None
    is_correct: bool | None = None
    prediction: Prediction = field(default_factory=Prediction)
    position: Mapping[str, int] = field(default_factory=dict)
    shape: tuple[int, ...] = ()
    evidence: float | None = None
    degenerate: str = ""
    share: float | None = None
    checks: Mapping[str, float] = field(default_factory=dict)
    grade: str = ""
    worth: str = ""
    label: str = ""
    patient: str = ""
    split: str = ""
    part: str = ""
    overlay: str = ""
    files: tuple[str, ...] = ()
    key: str = ""
    model: str = ""
    settings: tuple[tuple[str, str], ...] = ()
    warnings: tuple[str, ...] = ()
    source: str = ""

    @property
    def labels(self) -> list[str]:
        """The labels: an image may have several."""
        return split_labels(self.label)

    @property
    def explains(self) -> str:
        """The explained class by its name and number."""
        return class_text(self.name, self.index)

    @property
    def predicted(self) -> bool | None:
        """Whether the explained class is the predicted one; None where classes are not predicted."""
        return None if self.index is None or self.prediction.index is None else self.index == self.prediction.index

    def path_of(self, name: str) -> str:
        """The path of one of the map's files, relative to the folder that was read; "" of no name."""
        return (self.folder / name).as_posix() if name else ""
