"""A folder of images and masks: in folders of their own, or side by side."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pellucid.core.ordering import by_number
from pellucid.errors import DataError
from pellucid.evaluation.case import Case, Data, Exclusion, Outline
from pellucid.evaluation.folders import Folders
from pellucid.evaluation.form import Asked, Form, register_form
from pellucid.evaluation.image_file import ImageFile
from pellucid.evaluation.layout import Found, belonging, told_apart
from pellucid.evaluation.mask_file import MaskFile
from pellucid.evaluation.outlines import united
from pellucid.export.earlier import results_among
from pellucid.io import SUFFIXES, is_image_file
from pellucid.io.refusal import one_line

_MOST_FILES = 2**20
_MOST_LABELS = 20
_NOT_DATA = "__MACOSX"


@register_form("folder")
@dataclass(frozen=True)
class Folder(Form):
    """A folder whose names say what belongs together.

    Masks are in a folder ``masks`` beside ``images``, in the folder that is named for them, or beside the images;
    there they are named as the image with "mask" or "segmentation" before or behind, several with a number:
    ``a.png``, ``a_mask.png``, ``a_mask_1.png``. All masks of an image are one finding. A subfolder names the class
    of its images or masks; ``train``, ``val`` and ``test`` are splits, and ``patient12`` is a patient.
    """

    is_general: ClassVar[bool] = True

    def recognises(self, asked: Asked) -> bool:
        """Whether it is a folder."""
        return Path(asked.data).is_dir()

    def read(self, asked: Asked) -> Data:
        """The cases, one an image."""
        data = Path(asked.data)
        if not data.is_dir():
            raise DataError(f"data {data} was given; it is no folder: give the folder of images and masks")
        folders = Folders.of([data], [*filter(None, [asked.images, asked.masks])])
        excluded: list[Exclusion] = []
        images, masks = _files(data, asked, folders, excluded)
        return _data(self.name, images, masks, excluded)


def _files(data: Path, asked: Asked, folders: Folders, excluded: list[Exclusion]) -> tuple[list[Found], list[Found]]:
    """The images and the masks: those in the folders that are named for them, else by their names."""
    images = _found(asked.images, folders, excluded)
    masks = _found(asked.masks, folders, excluded)
    named = {os.path.realpath(file.path) for file in (*images, *masks)}
    others = [file for file in _found(data, folders, excluded) if os.path.realpath(file.path) not in named]
    if asked.images is not None:
        return images, masks or others
    images, found = told_apart(others)
    return images, [*masks, *found]


def _found(root: Path | None, folders: Folders, excluded: list[Exclusion]) -> list[Found]:
    """The image files in a folder and those below it; links that lead out of the data set are excluded."""
    if root is None:
        return []
    inside, found = Folders((root,), folders.allowed), []
    walked = list(_walked(root))
    earlier = results_among(walked)
    names = (path.relative_to(root).as_posix() for path in walked if path not in earlier and _is_image(path))
    for name in sorted(names, key=by_number):
        try:
            found.append(Found.of(inside.found(name, "file")[0], name))
        except DataError as error:
            excluded.append(Exclusion(name, str(error), error.detail))
    return found


def _walked(root: Path) -> Iterator[Path]:
    count = 0
    for where, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != _NOT_DATA)
        for name in names:
            count += 1
            if count > _MOST_FILES:
                raise DataError(f"data {one_line(root)} was given; it holds more than {_MOST_FILES:,} files: divide it")
            if not name.startswith("."):
                yield Path(where, name)


def _is_image(path: Path) -> bool:
    """Whether a file's name is that of an image; without a suffix that says what it is, its first bytes decide."""
    suffix = path.suffix[1:]
    return path.name.lower().endswith(SUFFIXES) or ((not suffix or suffix.isdigit()) and is_image_file(path))


def _data(form: str, images: Sequence[Found], masks: Sequence[Found], excluded: Sequence[Exclusion]) -> Data:
    labels, notes = _labels(images)
    outlines: list[dict[str, list[Outline]]] = [{} for _ in images]
    lost = []
    for mask, (owners, label) in zip(masks, belonging(images, masks), strict=True):
        for owner in owners:
            outlines[owner].setdefault(labels[owner] or label or "", []).append(MaskFile(mask.path))
        lost += [mask.name] if not owners else []
    if lost:
        notes.append(f"{len(lost)} masks belong to no image, such as {one_line(lost[0])}.")
    cases = [_case(*one) for one in zip(images, labels, outlines, strict=True)]
    return Data(cases, excluded, form, notes)


def _case(image: Found, label: str | None, outlines: dict[str, list[Outline]]) -> Case:
    findings = {name: united(found) for name, found in outlines.items()}
    stated = (label,) if label is not None else tuple(name for name in findings if name) or None
    return Case(image.name, ImageFile(image.path), stated, findings, image.patient, image.split)


def _labels(images: Sequence[Found]) -> tuple[list[str | None], list[str]]:
    """The label of each image, by its folder; none where folders are too many to be classes."""
    labels = [image.label for image in images]
    different = {label for label in labels if label is not None}
    if len(different) > max(_MOST_LABELS, len(images) / 2):
        return [None] * len(images), [
            f"The names of {len(different)} folders were not taken for classes: they are too many."
        ]
    return labels, []
