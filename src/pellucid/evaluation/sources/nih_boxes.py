"""The boxes of NIH's ChestX-ray14, BBox_List_2017.csv (Wang et al. 2017, arXiv:1705.02315)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pellucid.errors import DataError
from pellucid.evaluation.case import Data
from pellucid.evaluation.data.annotated import BROKEN, Gathering, box_of, name_of, pixels_of
from pellucid.evaluation.data.annotations import head_of
from pellucid.evaluation.data.images_below import cases_below
from pellucid.evaluation.form import Asked, Form, register_form
from pellucid.run.csv_lines import read_lines

_HEADER = re.compile(r'\s*"?Image Index"?\s*,\s*"?Finding Label"?\s*,\s*"?Bbox \[x', re.IGNORECASE)
_NAME = re.compile(r"(\d+)_\d+\.\w+")
_SIZE = (1024, 1024)
_CELLS = 6
_ONLY_BOXES = (
    "The table lists findings with a box only; its images may have others, which count as absent in the figures of the "
    "model."
)


@register_form("nih")
@dataclass(frozen=True)
class NIHBoxes(Form):
    """The columns Image Index, Finding Label and Bbox [x, y, w, h], in pixels of the images of 1024 × 1024.

    Images are found by their names in the folders below ``--images``; the number before the underscore is the
    patient's. The file may be compressed, as torchxrayvision ships it.
    """

    def recognises(self, asked: Asked) -> bool:
        """Whether the first line is the table's."""
        return _HEADER.match(head_of(Path(asked.data))) is not None

    def read(self, asked: Asked) -> Data:
        """The images as cases; those with a broken row are excluded.

        Raises:
            DataError: the file cannot be read.
        """
        path = Path(asked.data)
        gathering, names = Gathering(), dict[str, None]()
        for row in read_lines(path, f"data {path.name} was given", DataError)[1:]:
            names[row[0].strip()] = None
            _gather(row, gathering)
        cases = cases_below(asked.images or path.parent, names, gathering, _patient)
        return Data(cases, list(gathering.wrong.values()), self.name, [_ONLY_BOXES])


def _gather(row: Sequence[str], gathering: Gathering) -> None:
    """State a row of its image; further cells, which the published file has, are empty."""
    name, cells = row[0].strip(), row[:_CELLS]
    try:
        if len(cells) < _CELLS or any(map(str.strip, row[_CELLS:])):
            raise DataError(BROKEN, f"a row of {len(row)} cells; {_CELLS} were expected")
        x, y, width, height = map(pixels_of, cells[2:])
        gathering.state(name, name_of(cells[1]), box_of(x, y, width, height, _SIZE))
    except DataError as error:
        gathering.refuse(name, error)


def _patient(name: str) -> str | None:
    """The number before the underscore."""
    matched = _NAME.fullmatch(name)
    return matched.group(1) if matched else None
