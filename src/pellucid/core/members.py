"""Registered classes as attributes of the package that their files are in, such as ``pellucid.metrics.Deletion``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import FrameType
from typing import Any

from pellucid.core import habits


@dataclass(frozen=True)
class Members:
    """What ``__getattr__`` and ``__dir__`` of such a package return (PEP 562).

    ``registered`` are the classes by the names that they are registered under, those of other packages included.
    """

    package: str
    registered: Callable[[], Mapping[str, type[Any]]]

    def classes(self) -> dict[str, type[Any]]:
        """The classes by their own names; of two with the same one, that which was registered first."""
        return {cls.__name__: cls for cls in reversed(list(self.registered().values()))}

    def find(self, name: str, caller: FrameType) -> Any:
        """The class of this name; ``caller`` is the frame that asks for it.

        Raises:
            AttributeError: there is none; the message names what is alike.
        """
        known = {} if name.startswith("_") else self.classes()
        if name not in known:
            raise habits.missing(self.package, name, {one: one for one in known}, caller)
        return known[name]

    def names(self, own: Iterable[str]) -> list[str]:
        """The names of the classes, and the package's ``own``."""
        return sorted({*own, *self.classes()})
