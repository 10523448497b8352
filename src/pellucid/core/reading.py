"""``Reading``: what a model says of one image about one class or value, as pictures, tables and reports show it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Reading:
    """A class with its probability, or the value of a regression head.

    ``index`` is the class's number, or None of a value; ``name`` is its name, else its number. Of ``probability`` and
    ``value`` one is None.
    """

    name: str
    index: int | None = None
    probability: float | None = None
    value: float | None = None

    def __str__(self) -> str:
        """One line: "pneumonia, p = 0.93", or "bone age (months) = 124"."""
        if self.probability is not None:
            return f"{self.name}, p = {self.probability:.3g}"
        return self.name if self.value is None else f"{self.name} = {self.value:.4g}"
