"""Tells images from masks in a folder by their names, and which mask belongs to which image."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pellucid.evaluation.data.columns import plain
from pellucid.io import SUFFIXES

_IMAGES = frozenset({"images", "image", "imgs", "img"})
_MASKS = frozenset(
    {"masks", "mask", "segmentations", "segmentation", "segs", "seg", "labels", "annotations", "groundtruth", "gt"}
)
_SPLITS = frozenset({"train", "training", "val", "valid", "validation", "test", "testing"})
_PATIENT = re.compile(r"(patient|subject|participant|pat|sub|pid)[-_ ]?\w*\d\w*", re.I)
_WORDS = "masks?|segmentations?|segm?|gt|ground[-_ ]?truth|annotations?"
_AFTER = re.compile(rf"(?P<stem>.+?)[\s._-]+(?:{_WORDS})[\s._-]*\(?\d*\)?", re.I)
_BEFORE = re.compile(rf"(?:{_WORDS})[\s._-]+(?P<stem>.+)", re.I)
_NUMBERED = re.compile(r"(?P<stem>.+?)[\s._-]+\(?\d+\)?")
_WORDED = re.compile(r"(?P<stem>.+)[\s._-]+[^\W\d_]+[\s._-]*\(?\d*\)?")


@dataclass(frozen=True)
class Found:
    """A file that was found, and what the folders in its path say of it.

    ``name`` is its path in the folder that was searched, ``folders`` the names in it that are not those of images,
    masks and splits; the first of these that names no patient is the label.
    """

    path: Path
    name: str
    folders: tuple[str, ...]
    stem: str
    in_masks: bool
    split: str | None = None
    patient: str | None = None

    @staticmethod
    def of(path: Path, name: str) -> Found:
        """A file at a path; ``name`` is relative to the folder that was searched."""
        *folders, last = PurePosixPath(name).parts
        kinds = [plain(folder) for folder in folders]
        rest = [folder for folder, kind in zip(folders, kinds, strict=True) if kind not in _IMAGES | _MASKS | _SPLITS]
        split = next((folder for folder, kind in zip(folders, kinds, strict=True) if kind in _SPLITS), None)
        patient = next((folder for folder in rest if _PATIENT.fullmatch(folder)), None)
        return Found(path, name, tuple(rest), _key(_stem(last)), not _MASKS.isdisjoint(kinds), split, patient)

    @property
    def label(self) -> str | None:
        """The folder of its class."""
        return next((folder for folder in self.folders if folder != self.patient), None)

    @property
    def key(self) -> tuple[tuple[str, ...], str]:
        """What an image has in common with its masks: split, subfolder and stem."""
        return (*filter(None, [self.split]), *self.folders), self.stem


def told_apart(files: Sequence[Found]) -> tuple[list[Found], list[Found]]:
    """The images and the masks: a mask is in a folder of masks, or named as the mask of an image beside it."""
    known = {file.key for file in files if not file.in_masks}
    images: list[Found] = []
    masks: list[Found] = []
    for file in files:
        is_mask = file.in_masks or any((file.key[0], stem) in known for stem in _bases(file.stem))
        (masks if is_mask else images).append(file)
    return images, masks


def belonging(images: Sequence[Found], masks: Sequence[Found]) -> list[tuple[list[int], str | None]]:
    """Of each mask the images that it belongs to, none if it belongs to none, and the label that its folder names.

    An image has the mask's name, but for "mask", a number or a word at its end, and is in the same subfolder; else in
    one above, so that the other subfolder of the mask names the label; else it is the only one of that name.
    """
    by_key: dict[tuple[tuple[str, ...], str], list[int]] = {}
    by_stem: dict[str, list[int]] = {}
    for index, image in enumerate(images):
        by_key.setdefault(image.key, []).append(index)
        by_stem.setdefault(image.stem, []).append(index)
    return [_owners(mask, by_key, by_stem) for mask in masks]


def _owners(
    mask: Found, by_key: dict[tuple[tuple[str, ...], str], list[int]], by_stem: dict[str, list[int]]
) -> tuple[list[int], str | None]:
    stems = [mask.stem, *_bases(mask.stem), *_stems(_NUMBERED, mask.stem), *_stems(_WORDED, mask.stem)]
    folders = mask.key[0]
    for depth in range(len(folders), -1, -1):
        for stem in stems:
            if found := by_key.get((folders[:depth], stem)):
                return found, next((folder for folder in mask.folders if folder in folders[depth:]), None)
    for stem in stems:
        if len(found := by_stem.get(stem, [])) == 1:
            return found, None
    return [], None


def _bases(stem: str) -> Iterator[str]:
    """The stems that an image may have whose mask has this one."""
    yield from _stems(_AFTER, stem)
    yield from _stems(_BEFORE, stem)


def _stems(pattern: re.Pattern[str], stem: str) -> Iterator[str]:
    if match := pattern.fullmatch(stem):
        yield match["stem"]


def _stem(name: str) -> str:
    suffix = next((suffix for suffix in SUFFIXES if name.lower().endswith(suffix)), PurePosixPath(name).suffix)
    return name[: len(name) - len(suffix)] or name


def _key(stem: str) -> str:
    """A stem without case and in one form of Unicode."""
    return unicodedata.normalize("NFC", stem).casefold()
