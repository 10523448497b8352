"""A graph in the ONNX format that MLflow keeps: files with its weights, and what is stated of images and classes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pellucid.errors import SourceError
from pellucid.models.checkpoints.stated import stated_in
from pellucid.models.checkpoints.stated_classes import classes_in, classes_of
from pellucid.models.checkpoints.stated_head import find_head
from pellucid.models.mlflow_artifacts.described import Settings
from pellucid.models.mlflow_artifacts.fetching import OWN_NAME, Located
from pellucid.models.sources.assumed import with_stated
from pellucid.models.sources.base import ModelInfo
from pellucid.models.sources.onnx import OnnxModel

_RGB = 3


class Beside:
    """Fetches files that a graph names, from among the artifacts in its own folder, each as it is asked for."""

    def __init__(self, place: Located) -> None:
        self._place = place
        self._count = 0
        self._left = place.most

    def __call__(self, name: str) -> Path:
        """Return a file by its path there.

        ``SourceError`` or ``TransferError``: it is not there, or with it more than the bounds would be fetched.
        """
        place = self._place
        parent = place.chosen.path.rpartition("/")[0]
        folder, _, last = f"{parent}/{name}".strip("/").rpartition("/")
        entry = next((each for each in place.files.listed(folder) if each.name == last and not each.is_folder), None)
        if entry is None:
            raise SourceError(
                f"{place.stored.uri}: its weights are stated in {name!r}, which is not among its artifacts"
            )
        self._count += 1
        target = place.folder / f"{OWN_NAME}-{self._count}"
        path = place.files.fetched(f"{folder}/{last}".strip("/"), entry.size, target, self._left)
        self._left -= path.stat().st_size
        return path


def with_settings(known: ModelInfo, model: OnnxModel, settings: Settings) -> ModelInfo:
    """Return what is known of a graph with what its settings state of images, head and classes."""
    size = model.size
    volumes = len(size) == 5
    channels = size[1] if len(size) > 1 else None
    info = with_stated(known, stated_in(settings, 3 if volumes else 2), channels or _RGB, volumes)
    head = next((head for each, _ in settings if (head := find_head(each))), None)
    classes = next((names for each, _ in settings if (names := classes_in(each))), frozenset())
    return replace(info, head=head, classes=classes_of(classes, model.num_classes))
