"""CheXlocalize's JSON: run lengths or polygons (Saporta et al. 2022, doi:10.1038/s42256-022-00536-x)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pellucid.core.rle import KEYS, is_empty
from pellucid.errors import DataError
from pellucid.evaluation.case import Case, Data, Exclusion, Outline
from pellucid.evaluation.data.annotated import Gathering, list_of, name_of, object_of, polygons_of, runs_of, size_of
from pellucid.evaluation.data.annotations import head_of, keys_of, read_json
from pellucid.evaluation.data.image_file import ImageFile
from pellucid.evaluation.data.images_below import located
from pellucid.evaluation.form import Asked, Form, register_form

_ID = re.compile(r"(patient\w+?)_(study\w+?)_(view\w+)")
_FOLDERS = ("", "valid/", "val/", "test/", "train/")
_RELEASES = ("", "CheXpert-v1.0/", "CheXpert-v1.0-small/", "CheXpert/")
_ENDINGS = (".jpg", ".png", ".jpeg")
_SIZE = "img_size"
_OTHER_NAMES = (
    "The data set calls 'Airspace Opacity' what CheXpert, and models that were trained on it, call 'Lung Opacity': "
    "state that the two are the same."
)


@register_form("chexlocalize")
@dataclass(frozen=True)
class CheXlocalize(Form):
    """A JSON file by image and pathology: {"size", "counts"}, or polygons beside "img_size" [height, width].

    The image ``patient64541_study1_view1_frontal`` is at ``patient64541/study1/view1_frontal.jpg`` below ``--images``,
    or in the folders that CheXpert has above it, or a file of the id's own name. A mask without a pixel states that the
    image does not have the pathology, and so do polygons that are not there.
    """

    def recognises(self, asked: Asked) -> bool:
        """Whether the first image has an image size or run lengths."""
        keys = keys_of(head_of(Path(asked.data)))
        first = [(depth, key) for depth, key in keys[1:12] if depth > 1]
        runs = {key for depth, key in first if depth == 3}
        return (2, _SIZE) in first or runs >= KEYS

    def read(self, asked: Asked) -> Data:
        """The images as cases; those with a broken mask or polygon are excluded.

        Raises:
            DataError: the file cannot be read, or is no object of images.
        """
        path = Path(asked.data)
        content = read_json(path)
        if not isinstance(content, dict) or not content:
            raise DataError(f"cannot read {path.name}: an object of images by their ids was expected")
        gathering = Gathering()
        root = asked.images or path.parent
        found = [_case(identifier, stated, root, gathering) for identifier, stated in content.items()]
        cases = [case for case in found if case is not None]
        labels = {label for case in cases for label in case.labels or ()}
        return Data(cases, _excluded(gathering), self.name, [_OTHER_NAMES] if "Airspace Opacity" in labels else [])


def _case(identifier: str, stated: Any, root: Path, gathering: Gathering) -> Case | None:
    try:
        name = name_of(identifier)
        path = located(root, _candidates(name))
        for label, outline in _outlines(object_of(stated)):
            gathering.state(identifier, label, outline)
    except DataError as error:
        gathering.refuse(identifier, error)
        return None
    matched = _ID.fullmatch(identifier)
    return gathering.case(identifier, ImageFile(path), matched.group(1) if matched else None)


def _candidates(identifier: str) -> Iterator[str]:
    """Where an image may be."""
    matched = _ID.fullmatch(identifier)
    if matched:
        inner = "/".join(matched.groups())
        for ending in _ENDINGS:
            yield from (f"{release}{part}{inner}{ending}" for release in _RELEASES for part in _FOLDERS)
    yield from (f"{identifier}{ending}" for ending in ("", *_ENDINGS))


def _outlines(stated: Mapping[str, Any]) -> Iterator[tuple[str, Outline]]:
    """The pathologies that an image has, with where they are."""
    size = size_of(stated[_SIZE]) if _SIZE in stated else None
    for label, given in stated.items():
        if label == _SIZE:
            continue
        if size is None:
            runs = runs_of(object_of(given))
            if not is_empty(runs.counts):
                yield name_of(label), runs
        elif list_of(given):
            yield name_of(label), polygons_of([list_of(polygon) for polygon in given], size)


def _excluded(gathering: Gathering) -> list[Exclusion]:
    return list(gathering.wrong.values())
