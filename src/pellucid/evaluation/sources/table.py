"""A CSV file with a row for each image, or for each box or mask of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pellucid.errors import DataError
from pellucid.evaluation.case import Case, Data, Exclusion
from pellucid.evaluation.data.columns import Columns, cells_of, columns_of, has_paths, separator_of
from pellucid.evaluation.data.folders import Folders
from pellucid.evaluation.data.image_file import ImageFile
from pellucid.evaluation.data.masks_by_name import with_masks
from pellucid.evaluation.data.rows import Rows, Stated, check_boxes, groups_of
from pellucid.evaluation.form import Asked, Form, register_form
from pellucid.io.refusal import one_line
from pellucid.run.csv_lines import read_lines

_HEAD = 2**16
_ENDINGS = (".csv", ".tsv")


@register_form("csv")
@dataclass(frozen=True)
class Table(Form):
    """CSV in UTF-8, its cells separated by commas, semicolons or tabs, with a header.

    Columns, in any order and under the names that public data sets give them: the path of the image; the label
    (several separated by semicolons or vertical bars; empty: without a finding); a mask (path), a box, run lengths or
    a polygon; the patient; the split. Every other column makes subgroups. Rows of one path are one case with several
    findings. Paths begin in the folder of the file, or in the folders that are named for images and masks. Without a
    column of outlines the masks in the folder that is named for them belong to the images of the same names.
    """

    is_general: ClassVar[bool] = True

    def recognises(self, asked: Asked) -> bool:
        """Whether it is a file that ends in .csv or .tsv, or whose first line names a column of paths."""
        path = Path(asked.data)
        if not path.is_file():
            return False
        if path.name.lower().endswith(_ENDINGS):
            return True
        line = first_line(path)
        return line is not None and has_paths(cells_of(line, separator_of(line)))

    def read(self, asked: Asked) -> Data:
        """The cases, one a path."""
        path = Path(asked.data)
        said = f"data {path} was given"
        columns, separator, lines = _read(path, said)
        here = path.parent
        images = Folders.of([*filter(None, [asked.images]), here], list(filter(None, [asked.masks])))
        masks = Folders.of([*filter(None, [asked.masks]), here], list(filter(None, [asked.images])))
        table = _Table(columns, images, Rows(columns, masks, separator != ","))
        for line in lines:
            table.add(line)
        data = table.data(self.name)
        check_boxes(data.cases, data.excluded, said)
        return data if asked.masks is None or columns.has_outlines else with_masks(data, asked.masks, masks)


def first_line(path: Path) -> str | None:
    """The first line of a text file, None of another file."""
    try:
        with path.open("rb") as file:
            return file.read(_HEAD).decode("utf-8-sig", "ignore").splitlines()[0]
    except (OSError, IndexError):
        return None


def _read(path: Path, said: str) -> tuple[Columns, str, list[list[str]]]:
    if not path.is_file():
        raise DataError(f"{said}; it is no file: give a CSV file with the columns path,label,mask")
    separator = separator_of(first_line(path) or "")
    header, *lines = read_lines(path, said, DataError, separator)
    if any("\0" in cell for line in (header, *lines) for cell in line):
        raise DataError(f"{said}; it has NUL characters, as text in UTF-16 has: write it as CSV in UTF-8")
    return columns_of(header, said), separator, lines


class _Table:
    """The rows of a table, gathered by image."""

    def __init__(self, columns: Columns, images: Folders, rows: Rows) -> None:
        self._columns, self._images, self._rows = columns, images, rows
        self._files: dict[str, tuple[Path, str] | DataError] = {}
        self._stated: dict[str, Stated] = {}
        self._paths: dict[str, Path] = {}
        self._excluded: dict[str, Exclusion] = {}
        self._again = self._count = 0

    def add(self, line: Sequence[str]) -> None:
        """Add a row; what is wrong with it excludes its image."""
        text = line[self._columns.of["path"]].strip() if len(line) > self._columns.of["path"] else ""
        self._count += 1
        name = one_line(text) or f"row {self._count}, without a path"
        try:
            cells = self._whole(line)
            path, name = self._file(text)
            self._paths.setdefault(name, path)
            stated = self._stated.setdefault(name, Stated())
            if tuple(cells) in stated.lines:
                self._again += 1
                return
            stated.lines.add(tuple(cells))
            self._rows.add(cells, stated)
        except DataError as error:
            self._excluded.setdefault(name, Exclusion(name, str(error), error.detail))

    def _file(self, text: str) -> tuple[Path, str]:
        """The file of a path and its name, looked for once."""
        if text not in self._files:
            try:
                self._files[text] = self._images.found(text, "image")
            except DataError as error:
                self._files[text] = error
        found = self._files[text]
        if isinstance(found, DataError):
            raise found
        return found

    def _whole(self, line: Sequence[str]) -> list[str]:
        """The cells of a row, one a column. Spreadsheets write empty cells behind the last column."""
        count = len(self._columns.names)
        if len(line) < count or any(cell.strip() for cell in line[count:]):
            raise DataError(
                "its row has not the cells of the first line: put values that hold the separator into quotes",
                f"{len(line)} cells; the first line has {count}",
            )
        return list(line[:count])

    def data(self, form: str) -> Data:
        """All cases but those that are excluded."""
        kept = {name: stated for name, stated in self._stated.items() if name not in self._excluded}
        groups, notes = groups_of(kept, self._columns.groups)
        cases = [self._case(name, stated, groups[name]) for name, stated in kept.items()]
        if self._again:
            notes.append(f"Rows that repeat another count once: {self._again}.")
        return Data(cases, list(self._excluded.values()), form, notes)

    def _case(self, name: str, stated: Stated, groups: dict[str, str]) -> Case:
        findings = stated.findings()
        is_stated = "label" in self._columns.of and (stated.labels or not findings)
        labels = tuple(stated.labels) if is_stated else None
        patient, split = stated.once.get("patient"), stated.once.get("split")
        return Case(name, ImageFile(self._paths[name]), labels, findings, patient, split, groups)
