"""COCO's JSON: images, and annotations by polygons, run lengths or boxes (Lin et al. 2014, arXiv:1405.0312)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pellucid.errors import DataError
from pellucid.evaluation.case import Case, Data, Exclusion, Outline
from pellucid.evaluation.data.annotated import (
    BROKEN,
    Gathering,
    box_of,
    identifier_of,
    list_of,
    name_of,
    number_of,
    object_of,
    polygons_of,
    runs_of,
    size_of,
)
from pellucid.evaluation.data.annotations import head_of, keys_of, read_json
from pellucid.evaluation.data.image_file import ImageFile
from pellucid.evaluation.data.images_below import located
from pellucid.evaluation.form import Asked, Form, register_form

UNKNOWN_IMAGE = "its annotation names an image that the file does not list"
UNKNOWN_CATEGORY = "its annotation names a category that the file does not list"
LISTED_TWICE = "its image is listed twice"


@register_form("coco")
@dataclass(frozen=True)
class Coco(Form):
    """A JSON file with ``images``, ``annotations`` and ``categories``; images by ``file_name`` below ``--images``.

    The annotations of a category in an image are one finding. ``segmentation`` is a list of polygons, or run lengths,
    also of crowds; where there is none, ``bbox`` is the outline. An image without annotations has no finding. Of an
    image, ``patient_id`` (or ``patient``) and ``split`` are read, too.
    """

    def recognises(self, asked: Asked) -> bool:
        """Whether it is a JSON file that begins with such lists."""
        keys = keys_of(head_of(Path(asked.data)))
        outer = {key for depth, key in keys if depth == 1}
        inner = {key for depth, key in keys if depth == 3}
        return bool({"images", "annotations", "categories"} & outer) and bool(inner)

    def read(self, asked: Asked) -> Data:
        """The images as cases; those with a broken annotation are excluded.

        Raises:
            DataError: the file cannot be read, or one of the lists is missing.
        """
        path = Path(asked.data)
        images, annotations, categories = _lists(path, read_json(path))
        gathering = Gathering()
        records, excluded = _records(images, gathering)
        names = {record.get("id"): name for name, record in records.items()}
        for annotation in annotations:
            strange = _gather(annotation, gathering, names, records, categories)
            excluded.extend([strange] if strange else [])
        root = asked.images or path.parent
        cases = [_case(name, record, root, gathering) for name, record in records.items()]
        kept = [case for case in cases if case is not None]
        return Data(kept, [*excluded, *gathering.wrong.values()], self.name)


def _lists(path: Path, content: Any) -> tuple[list[Any], list[Any], dict[Any, Any]]:
    """The images, the annotations, and the categories' names by their numbers."""
    missing = [
        key
        for key in ("images", "annotations", "categories")
        if not isinstance(content, dict) or not isinstance(content.get(key), list)
    ]
    if missing:
        raise DataError(f"cannot read {path.name}: it has no list {missing[0]!r}; COCO's JSON has three")
    categories = [one for one in content["categories"] if isinstance(one, dict) and _is_key(one.get("id"))]
    return content["images"], content["annotations"], {one["id"]: one.get("name") for one in categories}


def _is_key(value: Any) -> bool:
    return isinstance(value, int | str) and not isinstance(value, bool)


def _records(images: list[Any], gathering: Gathering) -> tuple[dict[str, dict[str, Any]], list[Exclusion]]:
    """The images by their file names; those that are broken or there twice are excluded."""
    records: dict[str, dict[str, Any]] = {}
    excluded = []
    for number, image in enumerate(images):
        try:
            name = name_of(object_of(image).get("file_name"))
            if not _is_key(image.get("id")):
                raise DataError(BROKEN, "an image without an id")
        except DataError as error:
            excluded.append(Exclusion(f"image {number}", str(error), error.detail))
            continue
        if name in records:
            gathering.refuse(name, DataError(LISTED_TWICE))
        records[name] = image
    ids = Counter(record["id"] for record in records.values())
    for name, record in records.items():
        if ids[record["id"]] > 1:
            gathering.refuse(name, DataError(LISTED_TWICE))
    return records, excluded


def _gather(
    annotation: Any,
    gathering: Gathering,
    names: Mapping[Any, str],
    records: Mapping[str, dict[str, Any]],
    categories: Mapping[Any, Any],
) -> Exclusion | None:
    """State an annotation of its image; the exclusion of one whose image is not known."""
    key = annotation.get("image_id") if isinstance(annotation, dict) else None
    name = names.get(key) if _is_key(key) else None
    if name is None:
        return Exclusion(f"annotation of image {str(key)[:80]}", UNKNOWN_IMAGE)
    try:
        category = annotation.get("category_id")
        if not _is_key(category) or category not in categories:
            raise DataError(UNKNOWN_CATEGORY)
        gathering.state(name, name_of(categories[category]), _outline(annotation, records[name]))
    except DataError as error:
        gathering.refuse(name, error)
    return None


def _outline(annotation: Mapping[str, Any], record: Mapping[str, Any]) -> Outline | None:
    """Where a finding is; None where the annotation does not say it."""
    sides = [record.get("height"), record.get("width")]
    size = None if None in sides else size_of(sides)
    segmentation = annotation.get("segmentation")
    if isinstance(segmentation, dict):
        return runs_of(segmentation)
    if segmentation:
        flat = [list_of(polygon) for polygon in list_of(segmentation)]
        return polygons_of([list(zip(one[::2], one[1::2], strict=False)) for one in map(_even, flat)], size)
    if annotation.get("bbox"):
        sides_of_box = [number_of(value) for value in list_of(annotation["bbox"])]
        if len(sides_of_box) != 4:
            raise DataError(BROKEN, "a box that is not [x, y, width, height]")
        x, y, width, height = sides_of_box
        return box_of(x, y, width, height, size)
    return None


def _even(flat: list[Any]) -> list[Any]:
    if len(flat) % 2:
        raise DataError(BROKEN, "a polygon with an odd number of coordinates")
    return flat


def _case(name: str, record: Mapping[str, Any], root: Path, gathering: Gathering) -> Case | None:
    try:
        path = located(root, [name])
    except DataError as error:
        gathering.refuse(name, error)
    if name in gathering.wrong:
        return None
    patient = identifier_of(record.get("patient_id", record.get("patient")))
    return gathering.case(name, ImageFile(path), patient, identifier_of(record.get("split")))
