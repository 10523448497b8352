"""Groups maps for the page: an image with what is predicted for it is a case, and its maps are shown together."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from pellucid.report.maps import Map, Prediction


@dataclass(frozen=True)
class Case:
    """One image as one model sees it, with its maps; ``name`` is its path without what the paths of all images share.

    The map of the predicted class comes first, if it is there.
    """

    name: str
    maps: tuple[Map, ...]

    @property
    def first(self) -> Map:
        """The first map."""
        return self.maps[0]

    @property
    def prediction(self) -> Prediction:
        """What the model predicts for the image."""
        return self.first.prediction

    @property
    def warnings(self) -> list[str]:
        """The warnings of all maps, each once."""
        return list(dict.fromkeys(text for one in self.maps for text in one.warnings))

    @property
    def axes(self) -> list[str]:
        """The axes of the maps' positions."""
        return list(dict.fromkeys(axis for one in self.maps for axis in one.position))

    @property
    def checks(self) -> list[str]:
        """The names of the figures that were measured of its maps."""
        return sorted({name for one in self.maps for name in one.checks})


def cases(maps: Sequence[Map]) -> list[Case]:
    """The cases of maps that are in order."""
    shared = _shared_folder([one.image for one in maps])
    groups = groupby(maps, lambda one: (one.image, one.folder, one.source))
    return [Case(image[len(shared) :], _predicted_first(list(own))) for (image, *_), own in groups]


def _predicted_first(maps: Sequence[Map]) -> tuple[Map, ...]:
    return tuple(sorted(maps, key=lambda one: one.predicted is not True))


def _shared_folder(paths: Sequence[str]) -> str:
    """The beginning that all paths share, up to a separator."""
    beginning = os.path.commonprefix(paths)  # noqa: RUF071  # cut at a separator below; drives may differ
    return beginning[: max(beginning.rfind("/"), beginning.rfind("\\")) + 1]
