"""What an exporter is given, and how it is registered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from torch import Tensor

from pellucid.core.explanation import Explanation
from pellucid.core.image import Image
from pellucid.errors import ExportError, OptionError, did_you_mean

Files = dict[str, bytes]
"""What is to be written, by file name."""
_LONGEST_LABEL = 60


@dataclass(frozen=True)
class Case:
    """One image's maps by one method, and how they are drawn.

    ``name`` begins the names of all its files; ``explanation`` is of one image; ``model`` says where the model came
    from. ``keep_identity``: the metadata say whom a DICOM file shows.
    """

    name: str
    image: Image
    explanation: Explanation
    alpha: float = 0.5
    colormap: str = "jet"
    model: Mapping[str, Any] = field(default_factory=dict)
    keep_identity: bool = False

    def each(self) -> Sequence[Case]:
        """A case for each map, with its class in the name where there are several."""
        return self._each

    @cached_property
    def _each(self) -> Sequence[Case]:
        count = self.explanation.targets.shape[1]
        if count == 1:
            return [self]
        labels = _distinct([_fit_for_a_name(self.explanation.label(0, column)) for column in range(count)])
        return [
            replace(self, name=f"{self.name}_{label}", explanation=self.explanation.one(0, column))
            for column, label in enumerate(labels)
        ]

    def heat(self) -> Tensor:
        """The first heatmap, (H, W) or (D, H, W), on the picture's own grid, as it was read."""
        return self._heat

    @cached_property
    def _heat(self) -> Tensor:
        return self.image.geometry.restore(self.explanation.heatmaps[:, :1].detach().cpu())[0, 0]


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
        raise OptionError(
            f"export {name!r} was asked for; there are {', '.join(exporters())}{did_you_mean(name, _EXPORTERS)}"
        )
    return _EXPORTERS[name]


def exported(case: Case, formats: Sequence[str]) -> tuple[Files, list[ExportError]]:
    """The files of all formats, and why there are none of some."""
    files: Files = {}
    refused: list[ExportError] = []
    for name in formats:
        try:
            files |= find(name)(case)
        except ExportError as error:
            refused.append(error)
    return files, refused


def _distinct(names: Sequence[str]) -> list[str]:
    """Names of which no two are alike where case is ignored: their places are added where they would be."""
    counts = Counter(name.casefold() for name in names)
    return [f"{i}-{name}" if counts[name.casefold()] > 1 else name for i, name in enumerate(names)]


def _fit_for_a_name(text: str) -> str:
    """A class's name as a part of a file's name."""
    return "".join(char if char.isalnum() or char in "+-_." else "-" for char in text)[:_LONGEST_LABEL]
