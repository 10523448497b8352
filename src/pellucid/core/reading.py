"""``Reading``: what a model predicts for one image: a class with its probability, or a value."""

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

    @property
    def figure(self) -> str:
        """The probability with three decimals, or the value with four digits."""
        return f"{self.value:.4g}" if self.probability is None else f"{self.probability:.3f}"

    @property
    def measure(self) -> str:
        """What the figure is, "p" or "value", and the figure: "p = 0.873"."""
        return f"{'value' if self.probability is None else 'p'} = {self.figure}"

    def __str__(self) -> str:
        """One line: "pneumonia, p = 0.930", or "bone age (months), value = 124"."""
        return f"{self.name}, {self.measure}"
