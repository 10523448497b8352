"""A folder of images and masks: in folders of their own, or side by side."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pellucid.errors import DataError
from pellucid.evaluation.case import Case, Data, Exclusion, Outline
from pellucid.evaluation.data.folders import Folders
from pellucid.evaluation.data.image_file import ImageFile
from pellucid.evaluation.data.layout import Found, told_apart
from pellucid.evaluation.data.masks_by_name import notes_on, outlines_of
from pellucid.evaluation.data.outlines import united
from pellucid.evaluation.data.searching import found_in
from pellucid.evaluation.form import Asked, Form, register_form

_MOST_LABELS = 20


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
    images = found_in(asked.images, folders, excluded)
    masks = found_in(asked.masks, folders, excluded)
    named = {os.path.realpath(file.path) for file in (*images, *masks)}
    others = [file for file in found_in(data, folders, excluded) if os.path.realpath(file.path) not in named]
    if asked.images is not None:
        return images, masks or others
    images, found = told_apart(others)
    return images, [*masks, *found]


def _data(form: str, images: Sequence[Found], masks: Sequence[Found], excluded: Sequence[Exclusion]) -> Data:
    labels, notes = _labels(images)
    outlines, lost = outlines_of(images, masks)
    cases = [_case(*one) for one in zip(images, labels, outlines, strict=True)]
    return Data(cases, excluded, form, [*notes, *notes_on(lost)])


def _case(image: Found, label: str | None, outlines: dict[str, list[Outline]]) -> Case:
    """A case; the folder of its class, or else that of its masks, is its label."""
    by_label = outlines if label is None else {label: [mask for masks in outlines.values() for mask in masks]}
    findings = {name: united(masks) for name, masks in by_label.items() if masks}
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
