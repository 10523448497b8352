"""Gives cases the masks of a folder that have the names of their images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pellucid.errors import counted
from pellucid.evaluation.case import Case, Data, Exclusion, Outline
from pellucid.evaluation.data.folders import Folders
from pellucid.evaluation.data.layout import Found, belonging
from pellucid.evaluation.data.mask_file import MaskFile
from pellucid.evaluation.data.outlines import united
from pellucid.evaluation.data.searching import found_in
from pellucid.io.refusal import one_line


def with_masks(data: Data, folder: Path, folders: Folders) -> Data:
    """The data set, each case with the masks in a folder that have its image's name.

    They are those of its label; of several labels, of each.
    """
    excluded: list[Exclusion] = []
    images = [Found.of(Path(case.name), case.name) for case in data.cases]
    outlines, lost = outlines_of(images, found_in(folder, folders, excluded))
    cases = [_with(case, each) for case, each in zip(data.cases, outlines, strict=True)]
    outside = [f"{counted(len(excluded), 'mask')} left out: {excluded[0].reason}."] if excluded else []
    return replace(data, cases=cases, notes=[*data.notes, *notes_on(lost), *outside])


def outlines_of(images: Sequence[Found], masks: Sequence[Found]) -> tuple[list[dict[str, list[Outline]]], list[str]]:
    """The masks of each image by the label that their folder names ("" if none), and those that belong to no image."""
    outlines: list[dict[str, list[Outline]]] = [{} for _ in images]
    lost = []
    for mask, (owners, label) in zip(masks, belonging(images, masks), strict=True):
        for owner in owners:
            outlines[owner].setdefault(label or "", []).append(MaskFile(mask.path))
        lost += [] if owners else [mask.name]
    return outlines, lost


def notes_on(lost: Sequence[str]) -> list[str]:
    """A note on masks that belong to no image."""
    return [f"{counted(len(lost), 'mask')} without an image left out, such as {one_line(lost[0])}."] if lost else []


def _with(case: Case, outlines: dict[str, list[Outline]]) -> Case:
    found: dict[str, list[Outline]] = {}
    for label, each in outlines.items():
        for name in [label] if label else case.labels or [""]:
            found.setdefault(name, []).extend(each)
    return replace(case, findings={name: united(each) for name, each in found.items()})
