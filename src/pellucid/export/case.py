"""What an exporter is given, and how it is registered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from pellucid.core.explanation import Explanation
from pellucid.core.image import Image
from pellucid.errors import OptionError, near

Files = dict[str, bytes]
"""What is to be written, by file name."""


@dataclass(frozen=True)
class Case:
    """One map of one image, and how it is to be drawn.

    ``name`` begins the names of all its files; ``explanation`` is of one image and one map.
    """

    name: str
    image: Image
    explanation: Explanation
    alpha: float = 0.5
    colormap: str = "jet"

    def heat(self) -> Tensor:
        """The heatmap (H, W) on the picture's own grid, as it was read."""
        return self._heat

    @cached_property
    def _heat(self) -> Tensor:
        return self.image.geometry.restore(self.explanation.heatmaps)[0, 0]


Exporter = Callable[[Case], Files]
_EXPORTERS: dict[str, Exporter] = {}


def exporter(name: str) -> Callable[[Exporter], Exporter]:
    """Register an exporter under the name that ``--export`` takes."""

    def register(function: Exporter) -> Exporter:
        _EXPORTERS[name] = function
        return function

    return register


def exporters() -> list[str]:
    """The names of all formats, sorted."""
    return sorted(_EXPORTERS)


def find(name: str) -> Exporter:
    """The exporter of a format, or an error that says which there are."""
    if name not in _EXPORTERS:
        raise OptionError(f"export {name!r} was asked for; there are {', '.join(exporters())}{near(name, _EXPORTERS)}")
    return _EXPORTERS[name]
