"""``Predictions``: what a model returns for images, read by its head as probabilities of classes or as values."""

from __future__ import annotations

from pellucid.core import head as heads
from pellucid.core.head import DIRECTIONS
from pellucid.core.reading import Reading
from pellucid.core.shapes import Logits
from pellucid.errors import OptionError


class Predictions:
    """The logits (B, C) of B images, the head that reads them, and the names of the classes, where known."""

    logits: Logits
    head: str
    classes: tuple[str, ...] | None

    @property
    def probabilities(self) -> Logits:
        """The classes' probabilities, (B, C): softmax of the logits, or the sigmoid of each.

        Raises:
            OptionError: the head is regression; ``values`` are what the model returns.
        """
        found = heads.HEADS[self.head].probabilities
        if found is None:
            raise OptionError(f"probabilities were asked for; the head is {self.head!r}, which has values: use .values")
        return found(self.logits)

    @property
    def values(self) -> Logits:
        """The model's outputs (B, M), before a sigmoid or softmax of its own: of a regression head, the values."""
        return heads.HEADS[self.head].raw(self.logits)

    @property
    def has_probabilities(self) -> bool:
        """Whether the head's outputs are probabilities of classes."""
        return heads.HEADS[self.head].probabilities is not None

    def prediction(self, image: int) -> Reading:
        """What the model predicts for an image: its most probable class, or the value of a regression head."""
        if self.has_probabilities:
            return self.reading(image, int(self.probabilities[image].argmax()))
        return Reading(self.value_name(0), value=self.reading(image, 0).value)

    def reading(self, image: int, index: int) -> Reading:
        """The probability of a class for an image; of a regression head the value that a score belongs to."""
        if self.has_probabilities:
            return Reading(self.class_name(index), index, probability=float(self.probabilities[image, index]))
        return Reading(self.class_name(index), index, value=float(self.values[image, index // len(DIRECTIONS)]))

    def value_name(self, number: int) -> str:
        """The name of a value of a regression head."""
        name = "" if self.classes is None else self.classes[len(DIRECTIONS) * number].removeprefix(DIRECTIONS[0])
        return name.strip() or ("value" if self.values.shape[1] == 1 else f"value {number}")

    def class_name(self, index: int) -> str:
        """The name of a class, else its number."""
        return self.classes[index] if self.classes is not None else str(index)
