"""``write``: write an explanation to files."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path

from torch import nn

from pellucid.core.default_device import on_cpu_by_default
from pellucid.core.explanation import Explanation
from pellucid.core.image import Image
from pellucid.errors import ExportError, OptionError, ShapeError
from pellucid.export import Case, exported, find
from pellucid.export.deidentify import Deidentifier
from pellucid.export.writing import write as write_files
from pellucid.run.results import model_facts


@on_cpu_by_default
def write(
    explanation: Explanation,
    image: Image | Sequence[Image],
    folder: str | os.PathLike[str],
    formats: str | Sequence[str] = "png",
    model: nn.Module | None = None,
    overwrite: bool = False,
    deidentify: bool | bytes = False,
    allow_seg_without_geometry: bool = False,
) -> list[Path]:
    """Write an explanation into a folder, and return the files.

    ``image`` is the prepared image that was explained (``pellucid.prepare``), or a list of them. ``formats`` are names
    of exporters, those of ``pellucid explain --export``; an unknown name is an error that lists them. DICOM objects
    need an image that was read from DICOM, belong to its study and carry its patient; ``model`` is named in them, with
    the SHA-256 of its weights. With ``deidentify`` they carry no identity (PS3.15, basic profile): names, identifiers,
    dates and UIDs are replaced, in all calls with the same secret key of at least 16 bytes by the same ones; True
    draws a key for this call. ``allow_seg_without_geometry``: also write a Segmentation of an image that does not
    state where its pixels are in the patient, such as a radiograph; viewers may fail on it. File names begin with
    image, or with image-0, image-1, … for several images.

    Raises:
        ExportError: the source of an image does not allow a format; all others were written.
        OutputExistsError: such a file exists already, and ``overwrite`` is false.
        WriteError: the folder cannot be written to.
        OptionError: a format is unknown, ``image`` is not a ``pellucid.Image``, or the key is too short.
        MissingPackageError: ``deidentify`` needs the extra of that name, which is not installed.
        ShapeError: the images are not those that were explained.
    """
    images = [image] if isinstance(image, Image) else list(image)
    names = [formats] if isinstance(formats, str) else list(formats)
    _check(explanation, images, names)
    facts = {} if model is None else model_facts(model)
    deidentifier = _deidentifier(deidentify)
    files: dict[str, bytes] = {}
    refused: list[ExportError] = []
    for index, one in enumerate(images):
        case = Case(
            f"image-{index}" if len(images) > 1 else "image",
            one,
            explanation.one(index),
            model=facts,
            deidentifier=deidentifier,
            allow_seg_without_geometry=allow_seg_without_geometry,
        )
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # pydicom and highdicom quote suspect values, which may identify the patient
            own, why = exported(case, names)
        files |= own
        refused += why
    write_files(Path(folder), files, overwrite)
    if refused:
        raise refused[0]
    return [Path(folder) / name for name in files]


def _deidentifier(asked: bool | bytes) -> Deidentifier | None:
    if isinstance(asked, bytes):
        return Deidentifier(asked)
    return Deidentifier() if asked else None


def _check(explanation: Explanation, images: Sequence[Image], formats: Sequence[str]) -> None:
    for name in formats:
        find(name)
    if not all(isinstance(one, Image) for one in images):
        kinds = ", ".join(sorted({type(one).__name__ for one in images}))
        raise OptionError(f"pellucid.Image objects were expected, as pellucid.prepare gives them, got {kinds}")
    if len(images) != len(explanation):
        raise ShapeError(
            f"{len(explanation)} images were explained, but {len(images)} were given to write: give these images"
        )
    for one in images:
        if explanation.is_sequence:
            raise ShapeError(
                f"a sequence of {explanation.heatmaps.shape[2]} images was explained; write explanation.member(number) "
                "with the image of that number"
            )
        if one.geometry.target != tuple(explanation.heatmaps.shape[2:]):
            raise ShapeError(
                f"the heatmaps have the size {tuple(explanation.heatmaps.shape[2:])}, but the image given has "
                f"{one.geometry.target}: give it as it was prepared and explained"
            )
