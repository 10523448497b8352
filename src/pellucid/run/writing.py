"""``write``: an explanation as files."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path

from torch import nn

from pellucid.core.explanation import Explanation
from pellucid.core.image import Image
from pellucid.errors import ExportError, OptionError, ShapeError
from pellucid.export import Case, exported, find
from pellucid.export.writing import write as write_files
from pellucid.run.results import model_facts


def write(
    explanation: Explanation,
    image: Image | Sequence[Image],
    folder: str | os.PathLike[str],
    formats: str | Sequence[str] = "png",
    model: nn.Module | None = None,
    overwrite: bool = False,
) -> list[Path]:
    """Write an explanation into a folder, and return the files.

    ``image``: the prepared image that was explained (``pellucid.prepare``), or a list of them. ``formats``: "png"
    (overlay and heatmap), "overlay", "npz"; of images read from DICOM also "sc" (Secondary Capture), "seg"
    (Segmentation), "pm" (Parametric Map) and "sr" (Structured Report), which belong to the study of their source and
    carry its patient. ``model`` is named in these, with its weights' SHA-256. Files are called image, or image-0,
    image-1, … of several, with what they show.

    Raises:
        ExportError: the source of an image does not allow an object; all others were written.
        OutputExistsError, WriteError: the folder holds such a file, or cannot be written to.
        OptionError, ShapeError: there is no such format; the images are not those that were explained.
    """
    images = [image] if isinstance(image, Image) else list(image)
    names = [formats] if isinstance(formats, str) else list(formats)
    _check(explanation, images, names)
    facts = {} if model is None else model_facts(model)
    files: dict[str, bytes] = {}
    refused: list[ExportError] = []
    for index, one in enumerate(images):
        case = Case(f"image-{index}" if len(images) > 1 else "image", one, explanation.one(index), model=facts)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom and highdicom quote what they doubt in a patient's file
            own, why = exported(case, names)
        files |= own
        refused += why
    write_files(Path(folder), files, overwrite)
    if refused:
        raise refused[0]
    return [Path(folder) / name for name in files]


def _check(explanation: Explanation, images: Sequence[Image], formats: Sequence[str]) -> None:
    for name in formats:
        find(name)
    if not all(isinstance(one, Image) for one in images):
        kinds = ", ".join(sorted({type(one).__name__ for one in images}))
        raise OptionError(f"pellucid.Image objects were expected, as pellucid.prepare gives them, got {kinds}")
    if len(images) != len(explanation):
        raise ShapeError(f"{len(explanation)} images were explained, {len(images)} were given to write")
    for one in images:
        if one.geometry.target != tuple(explanation.heatmaps.shape[2:]):
            raise ShapeError(
                f"heatmaps of {tuple(explanation.heatmaps.shape[2:])} are to be written, the image given is "
                f"{one.geometry.target}: give it as it was prepared and explained"
            )
