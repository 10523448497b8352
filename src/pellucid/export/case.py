"""The input of an exporter: one image, its explanation by one method, and how the maps are drawn."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pellucid.core.style import Style

if TYPE_CHECKING:  # listing the formats, as the command line's help does, must not load torch
    from torch import Tensor

    from pellucid.core.explanation import Explanation
    from pellucid.core.image import Image
    from pellucid.export.deidentify import Deidentifier

Files = dict[str, bytes]
"""The contents of files by file name. A name is the name of a case, an underscore, and what the file shows."""
_MAX_LABEL = 60


@dataclass(frozen=True)
class Case:
    """The maps of one image by one method, and how they are drawn.

    ``name`` is the prefix of all file names; ``explanation`` is of this image alone; ``model`` describes the model
    (its specification and weights). ``keep_identity``: the metadata name the patient of a DICOM file.
    ``signed``: maps are drawn with their sign. ``deidentifier``: removes the identity from DICOM results.
    ``allow_seg_without_geometry``: a Segmentation is also made of a source that does not state where its pixels are in
    the patient. ``formats`` are the names of all formats that are written of the image, so that one result may refer to
    another.
    """

    name: str
    image: Image
    explanation: Explanation
    alpha: float = 0.5
    colormap: str = "jet"
    model: Mapping[str, Any] = field(default_factory=dict)
    keep_identity: bool = False
    signed: bool = False
    deidentifier: Deidentifier | None = None
    allow_seg_without_geometry: bool = False
    formats: Sequence[str] = ()

    @property
    def style(self) -> Style:
        """How the maps are drawn."""
        return Style(self.alpha, self.colormap, self.signed)

    def each(self) -> Sequence[Case]:
        """One case per map; with several maps, the class is appended to the name."""
        return self._each

    @cached_property
    def _each(self) -> Sequence[Case]:
        count = self.explanation.targets.shape[1]
        if count == 1:
            return [self]
        labels = _distinct([file_label(self.explanation.label(0, column)) for column in range(count)])
        return [
            replace(self, name=f"{self.name}_{label}", explanation=self.explanation.one(0, column))
            for column, label in enumerate(labels)
        ]

    def heat(self) -> Tensor:
        """The first heatmap, (H, W) or (D, H, W), on the grid of the original image."""
        return self._heat

    def shown(self) -> Tensor:
        """The first map as it is drawn, on the same grid: the heatmap, or the attributions in [−1, 1] if ``signed``."""
        return self._shown if self.signed else self._heat

    def digest(self) -> str:
        """SHA-256 of the heatmaps."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        values = self.explanation.heatmaps.detach().cpu().contiguous().numpy()
        return hashlib.sha256(values.tobytes()).hexdigest()

    @cached_property
    def _heat(self) -> Tensor:
        return self.image.geometry.restore(self.explanation.heatmaps[:, :1].detach().cpu())[0, 0]

    @cached_property
    def _shown(self) -> Tensor:
        from pellucid.core.shown import shown_maps

        return self.image.geometry.restore(shown_maps(self.explanation, self.signed)[:, :1].cpu())[0, 0]


def _distinct(names: Sequence[str]) -> list[str]:
    """Names that differ also where case is ignored: equal ones get their index as a prefix."""
    counts = Counter(name.casefold() for name in names)
    return [f"{i}-{name}" if counts[name.casefold()] > 1 else name for i, name in enumerate(names)]


def file_label(text: str) -> str:
    """A class name as a part of a file name."""
    return "".join(char if char.isalnum() or char in "+-_." else "-" for char in text)[:_MAX_LABEL]
