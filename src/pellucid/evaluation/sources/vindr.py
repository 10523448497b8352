"""VinDr-CXR's boxes, annotations_train.csv and _test.csv (Nguyen et al. 2022, doi:10.1038/s41597-022-01498-w)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pellucid.errors import DataError
from pellucid.evaluation.case import Data
from pellucid.evaluation.data.annotated import BROKEN, Gathering, box_of, name_of, pixels_of
from pellucid.evaluation.data.annotations import head_of
from pellucid.evaluation.data.images_below import cases_below
from pellucid.evaluation.form import Asked, Form, register_form
from pellucid.run.csv_lines import read_lines

_CORNERS = ("x_min", "y_min", "x_max", "y_max")
_NEEDED = ("image_id", "class_name", *_CORNERS)
_READER = "rad_id"
_HEALTHY = "no finding"
_PIXELS = "The boxes are in pixels of the original images: images that were made smaller do not fit them."


@register_form("vindr")
@dataclass(frozen=True)
class VinDr(Form):
    """The columns image_id, class_name, x_min, y_min, x_max, y_max, and rad_id where several radiologists read alone.

    Images, DICOM or others, are found by their ids in the folders below ``--images``. What any radiologist outlined
    belongs to the finding. "No finding", without a box, states that there is none. The file may be compressed, as
    torchxrayvision ships it.
    """

    def recognises(self, asked: Asked) -> bool:
        """Whether the first line names these columns."""
        first = head_of(Path(asked.data)).partition("\n")[0]
        return set(_NEEDED) <= {cell.strip().strip('"') for cell in first.split(",")}

    def read(self, asked: Asked) -> Data:
        """The images as cases; those with a broken row are excluded.

        Raises:
            DataError: the file cannot be read, or its first line does not name the columns.
        """
        path = Path(asked.data)
        gathering, readers = Gathering(), defaultdict[str, set[str]](set)
        for cells in _rows(path):
            name = cells["image_id"]
            readers[name].add(cells.get(_READER, ""))
            _gather(name, cells, gathering)
        cases = cases_below(asked.images or path.parent, readers, gathering)
        return Data(cases, list(gathering.wrong.values()), self.name, [_PIXELS, *_said_of(readers)])


def _rows(path: Path) -> Iterator[Mapping[str, str]]:
    header, *rows = (
        [cell.strip() for cell in row] for row in read_lines(path, f"data {path.name} was given", DataError)
    )
    if missing := [name for name in _NEEDED if name not in header]:
        raise DataError(f"cannot read {path.name}: its first line names no column {missing[0]}")
    for row in rows:
        yield dict(zip(header, [*row, *[""] * (len(header) - len(row))], strict=False))


def _gather(name: str, cells: Mapping[str, str], gathering: Gathering) -> None:
    """State a row of its image."""
    corners = [cells[corner] for corner in _CORNERS]
    try:
        label = name_of(cells["class_name"])
        if label.casefold() == _HEALTHY and not any(corners):
            return
        if label.casefold() == _HEALTHY or not all(corners):
            raise DataError(BROKEN, "a row without a box that is not 'No finding', or the other way round")
        left, top, right, bottom = map(pixels_of, corners)
        gathering.state(name, label, box_of(left, top, right - left, bottom - top, None))
    except DataError as error:
        gathering.refuse(name, error)


def _said_of(readers: Mapping[str, Sequence[str] | set[str]]) -> list[str]:
    """What has to be known where several radiologists read an image."""
    several = sum(len(names) > 1 for names in readers.values())
    if not several:
        return []
    return [
        f"Several radiologists read {several} of {len(readers)} images: a finding is what any of them outlined, which "
        "is larger than what they agree on."
    ]
