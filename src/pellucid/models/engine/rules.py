"""Rules by which gradients pass back otherwise than they are: what a batch knows of them."""

from __future__ import annotations

from types import TracebackType
from typing import ClassVar, Protocol

from torch import Tensor


class Rule(Protocol):
    """A torch function mode: passes that are made while it is open follow the rule on their way back."""

    asked: ClassVar[str]
    """What a method asked for."""
    needed: ClassVar[str]
    """What a network must run for the rule to mean anything."""
    instead: ClassVar[str]
    """The method to use where the rule means nothing."""

    seen: int
    """How often what is needed was run."""

    def __enter__(self) -> object:
        """Begin."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """End: passes that follow are plain ones."""

    def begin(self, images: Tensor) -> None:
        """Say which images the pass is of."""

    def forget(self) -> None:
        """End the rule for the passes that were made, too: a second derivative through them is a plain one."""
