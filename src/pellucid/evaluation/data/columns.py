"""Finds what the columns of a table mean by their names, as public data sets call them."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pellucid.errors import DataError
from pellucid.io.refusal import one_line

SEPARATORS = (",", ";", "\t")
_MOST_COLUMNS = 1000
_NAMES: Mapping[str, Sequence[str]] = {
    "path": (
        *("path", "image", "file", "filename", "imagepath", "imagefile", "imagefilename", "imagefilepath", "filepath"),
        *("imagename", "imageindex", "img", "imgpath", "imgname", "imageid", "imgid", "dicom", "dicompath"),
    ),
    "label": (
        *("label", "labels", "class", "classes", "classname", "classlabel", "finding", "findings", "findingname"),
        *("findinglabel", "findinglabels", "pathology", "diagnosis", "category", "dx"),
    ),
    "mask": (
        *("mask", "masks", "maskpath", "maskfile", "maskfilename", "maskfilepath", "maskname", "roimaskfilepath"),
        *("segmentation", "segmentationpath", "seg", "segpath", "annotation", "annotationpath", "groundtruth", "gt"),
    ),
    "box": ("box", "boxes", "bbox", "bboxes", "boundingbox", "boundingboxes"),
    "rle": ("rle", "rles", "encodedpixels", "runlength", "runlengths", "rlemask", "maskrle"),
    "polygon": ("polygon", "polygons", "contour", "contours", "outline", "vertices"),
    "patient": ("patient", "patientid", "patientnumber", "subject", "subjectid", "participant", "participantid"),
    "split": ("split", "subset", "partition", "set"),
}
"""By what is read, the names that columns have, without case and punctuation; the first that is there is taken."""
_CORNERS: Sequence[Sequence[str]] = (
    ("x0", "y0", "x1", "y1"),
    ("xmin", "ymin", "xmax", "ymax"),
    ("x1", "y1", "x2", "y2"),
    ("left", "top", "right", "bottom"),
    ("boxx0", "boxy0", "boxx1", "boxy1"),
    ("bboxxmin", "bboxymin", "bboxxmax", "bboxymax"),
)
_SIDES: Sequence[Sequence[str]] = (
    ("x", "y", "width", "height"),
    ("x", "y", "w", "h"),
    ("left", "top", "width", "height"),
)
NEEDED = "path"
_OUTLINES = frozenset({"mask", "box", "rle", "polygon"})


@dataclass(frozen=True)
class Columns:
    """Where the values of a row are. ``of`` holds the index of a column by what is read.

    ``corners`` are the columns of a box's (x0, y0, x1, y1), ``sides`` those of (x, y, width, height); empty without.
    ``groups`` are the other columns, by their names as they are written.
    """

    names: Sequence[str]
    of: Mapping[str, int]
    corners: Sequence[int]
    sides: Sequence[int]
    groups: Mapping[str, int]

    @property
    def has_outlines(self) -> bool:
        """Whether a column says where findings are."""
        return bool(self.corners or self.sides or _OUTLINES & set(self.of))


def columns_of(header: Sequence[str], asked: str) -> Columns:
    """What the columns with these names mean.

    >>> found = columns_of(["Image Index", "Finding Label", "x", "y", "w", "h", "View"], "data a.csv was given")
    >>> found.of, found.sides, found.groups
    ({'path': 0, 'label': 1}, [2, 3, 4, 5], {'View': 6})

    Raises:
        DataError: no column holds paths, two have the same name, or there are more than 1,000.
    """
    names = [plain(name) for name in header]
    if len(names) > _MOST_COLUMNS:
        raise DataError(f"{asked}; its first line has {len(names):,} cells, more than {_MOST_COLUMNS:,}: give a table")
    of = {read: names.index(found) for read in _NAMES if (found := _first(_NAMES[read], names))}
    if NEEDED not in of:
        shown = one_line(", ".join(name.strip() for name in header) or "nothing")
        raise DataError(f"{asked}; its first line names no column path, but {shown}: begin it with path,label,mask")
    corners, sides = _box(names, _CORNERS), _box(names, _SIDES)
    used = {*of.values(), *corners, *(() if corners else sides)}
    if twice := [header[index] for index in sorted(used) if names.count(names[index]) > 1]:
        raise DataError(f"{asked}; its first line names the column {one_line(twice[0])} twice: name it once")
    groups = {name.strip(): index for index, name in reversed([*enumerate(header)]) if index not in used}
    return Columns([*header], of, corners, [] if corners else sides, dict(reversed([*groups.items()])))


def has_paths(header: Sequence[str]) -> bool:
    """Whether one of the names is one of a column of paths."""
    return _first(_NAMES[NEEDED], [plain(name) for name in header]) is not None


def separator_of(line: str) -> str:
    """What separates the cells of a table, by its first line: the separator that gives the most columns that are read.

    >>> separator_of("path;label;comment, if any")
    ';'
    """
    return max(SEPARATORS, key=lambda separator: _known(line, separator))


def cells_of(line: str, separator: str) -> list[str]:
    """The cells of one line."""
    return next(csv.reader([line], delimiter=separator), [])


def plain(name: str) -> str:
    """A name without case and punctuation: "Image Index" is imageindex."""
    return "".join(filter(str.isalnum, name.casefold()))


def _known(line: str, separator: str) -> tuple[bool, int]:
    cells = cells_of(line, separator)
    known = {name for names in _NAMES.values() for name in names} | {name for box in _CORNERS for name in box}
    return has_paths(cells), sum(plain(cell) in known for cell in cells)


def _first(wanted: Sequence[str], names: Sequence[str]) -> str | None:
    return next((name for name in wanted if name in names), None)


def _box(names: Sequence[str], forms: Sequence[Sequence[str]]) -> list[int]:
    found = next((form for form in forms if set(form) <= set(names)), ())
    return [names.index(name) for name in found]
