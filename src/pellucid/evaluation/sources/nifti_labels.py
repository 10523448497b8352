"""Label maps in NIfTI: nnU-Net's folders (Isensee et al. 2021, doi:10.1038/s41592-020-01008-z), or pairs of files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from pellucid.errors import DataError
from pellucid.evaluation.case import Case, Data, Exclusion, Outline
from pellucid.evaluation.data.annotated import list_of, name_of
from pellucid.evaluation.data.annotations import read_json
from pellucid.evaluation.data.folders import Folders
from pellucid.evaluation.data.image_file import ImageFile
from pellucid.evaluation.data.images_below import located
from pellucid.evaluation.data.label_map import LabelMap
from pellucid.evaluation.form import Asked, Form, register_form

_SETTINGS = "dataset.json"
_NIFTI = (".nii.gz", ".nii")
_FOLDERS = (
    ("imagesTr", "labelsTr", "train"),
    ("imagesVal", "labelsVal", "val"),
    ("imagesTs", "labelsTs", "test"),
    ("images", "labels", None),
)
_SUFFIX = re.compile(r"(.+)[_-](?:labels?|seg|segmentation|mask)", re.IGNORECASE)
_FIRST_CHANNEL = "_0000"
_MOST_LABELS = 2**10
_MOST_FILES = 2**20
_CHANNEL = "Of images whose channels are files of their own the first channel is the image."
_UNNAMED = "No names of labels are stated: what is not 0 in a label map is one finding of unknown class."


@register_form("nifti")
@dataclass(frozen=True)
class NIfTILabels(Form):
    """A folder with imagesTr, labelsTr and dataset.json, as nnU-Net and the Medical Segmentation Decathlon have it.

    imagesVal and imagesTs are read where they have labels. Without dataset.json what is not 0 is a finding of unknown
    class, and the folders may be images and labels, or a label map is beside its image, such as ``x_seg.nii.gz``. What
    nnU-Net ignores is no finding. ``Case.labels`` is None, since only the label map says which labels an image has:
    the mask of the others is empty.
    """

    def recognises(self, asked: Asked) -> bool:
        """Whether it is a folder with one of these layouts."""
        root = Path(asked.data)
        try:
            return root.is_dir() and next(_pairs(root, _endings(root)), None) is not None
        except (OSError, ValueError):  # no name that a folder can have, or no permission
            return False

    def read(self, asked: Asked) -> Data:
        """The images as cases; label maps without an image are excluded.

        Raises:
            DataError: dataset.json cannot be read, or names no labels.
        """
        root = Path(asked.data)
        labels = _labels(root / _SETTINGS) if (root / _SETTINGS).is_file() else {"": ()}
        cases, excluded = [], []
        for pair in islice(_pairs(root, _endings(root)), _MOST_FILES):
            try:
                cases.append(_case(root, pair, labels))
            except DataError as error:
                excluded.append(Exclusion(pair.name, str(error), error.detail))
        return Data(cases, excluded, self.name, _notes(cases, labels))


@dataclass(frozen=True)
class _Pair:
    """A label map and where its image may be, both relative to the data set's folder."""

    name: str
    label_map: str
    images: Sequence[str]
    split: str | None = None


def _pairs(root: Path, endings: Sequence[str]) -> Iterator[_Pair]:
    """The label maps of the folders that there are; without any, those beside their images."""
    folders = [each for each in _FOLDERS if (root / each[0]).is_dir() and (root / each[1]).is_dir()]
    for images, labels, split in folders:
        for name in _names(root / labels):
            for stem in _stems(name, endings):
                paths = [f"{images}/{stem}{part}{end}" for part in (_FIRST_CHANNEL, "") for end in endings]
                yield _Pair(f"{images}/{stem}", f"{labels}/{name}", paths, split)
    for name in [] if folders else _names(root):
        for stem in _stems(name, _NIFTI):
            if matched := _SUFFIX.fullmatch(stem):
                yield _Pair(matched.group(1), name, [f"{matched.group(1)}{end}" for end in _NIFTI])


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in islice(folder.iterdir(), _MOST_FILES) if not path.name.startswith("."))


def _stems(name: str, endings: Sequence[str]) -> list[str]:
    """The name without its ending; none of a file with another ending."""
    return [name[: -len(ending)] for ending in endings if name.endswith(ending) and name != ending][:1]


def _endings(root: Path) -> Sequence[str]:
    """The endings of the files: those that dataset.json states, or NIfTI's."""
    try:
        stated = read_json(root / _SETTINGS) if (root / _SETTINGS).is_file() else {}
    except DataError:  # reading the data set reports it
        stated = {}
    ending = stated.get("file_ending") if isinstance(stated, dict) else None
    return (ending,) if isinstance(ending, str) and re.fullmatch(r"(\.\w{1,8}){1,2}", ending) else _NIFTI


def _labels(path: Path) -> Mapping[str, tuple[int, ...]]:
    """The levels of each label, by its name: {"liver": 1}, {"liver": [1, 2]} or {"1": "liver"}."""
    content = read_json(path)
    stated = content.get("labels") if isinstance(content, dict) else None
    if not isinstance(stated, dict) or not 0 < len(stated) <= _MOST_LABELS:
        raise DataError(f"cannot read {path.name}: labels, an object of names and levels, were expected in it")
    try:
        found = dict(_label(key, value) for key, value in stated.items())
    except DataError:
        raise DataError(f"cannot read {path.name}: it has a label that is not {{name: level}}") from None
    kept = {name: levels for name, levels in found.items() if name.casefold() != "ignore" and levels != (0,)}
    if not kept:
        raise DataError(f"cannot read {path.name}: it names no label beside the background")
    return kept


def _label(key: str, value: Any) -> tuple[str, tuple[int, ...]]:
    if isinstance(value, str) and key.isdecimal():
        return name_of(value), (_level(int(key)),)
    return name_of(key), tuple(_level(one) for one in (list_of(value) if isinstance(value, list) else [value]))


def _level(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**31:
        raise DataError("a level that is no whole number")
    return value


def _case(root: Path, pair: _Pair, labels: Mapping[str, tuple[int, ...]]) -> Case:
    path = located(root, pair.images)
    label_map, _ = Folders.of([root]).found(pair.label_map, "label map")
    findings: dict[str, Outline] = {label: LabelMap(label_map, levels) for label, levels in labels.items()}
    return Case(pair.name, ImageFile(path), None, findings, split=pair.split)


def _notes(cases: Sequence[Case], labels: Mapping[str, tuple[int, ...]]) -> list[str]:
    files = [case.source.path.name for case in cases if isinstance(case.source, ImageFile)]
    is_first = any(_FIRST_CHANNEL in name for name in files)
    return [*([_CHANNEL] if is_first else []), *([_UNNAMED] if "" in labels else [])]
