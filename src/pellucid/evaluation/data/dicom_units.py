"""The images in a folder of DICOM files: volumes of slices, and images that are none, by their headers."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePath

from pydicom import Dataset

from pellucid.core.image import Image
from pellucid.io.dicom_file import is_dicom_file, read_tags
from pellucid.io.series import read_slices
from pellucid.run.inputs import Input, input_digest

_TAGS = (
    "SOPClassUID",
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "PatientID",
    "Rows",
    "NumberOfFrames",
    "ImagePositionPatient",
    "ImageOrientationPatient",
)


@dataclass(frozen=True)
class Series:
    """The slices of a series, as a volume."""

    paths: tuple[Path, ...]

    def image(self) -> Image:
        """The volume. ``ImageError``: the slices are none."""
        return read_slices(self.paths[0].parent, self.paths)

    def digest(self) -> str | None:
        """The SHA-256 of the files; None where one cannot be read."""
        return input_digest(Input(self.paths[0].parent, PurePath(self.paths[0].parent.name), slices=self.paths))


@dataclass(frozen=True)
class Unit:
    """What one image is read from: its files, their UIDs, the series, and a digest of the patient's ID."""

    paths: tuple[Path, ...]
    uids: frozenset[str]
    series: str
    patient: str | None


def files_below(root: Path) -> Iterator[Path]:
    """The files below a folder, or the file itself; links are not followed."""
    with suppress(OSError, ValueError):  # no name that a file can have
        if root.is_file():
            yield root
    for where, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (path for name in sorted(names) if not (path := Path(where, name)).is_symlink())


def headers_of(paths: Iterable[Path]) -> Iterator[tuple[Path, Dataset]]:
    """The DICOM files among some, with what is needed of their headers; what cannot be read is left out."""
    for path in dict.fromkeys(paths):
        try:
            if path.is_file() and is_dicom_file(path):
                yield path, read_tags(path, _TAGS)
        except Exception:  # noqa: S112  (hostile bytes raise errors of every kind; a broken image is no case)
            continue


def units_of(headers: Mapping[Path, Dataset]) -> list[Unit]:
    """The volumes, and the images that are none, in the order of their files."""
    groups: dict[tuple[str, Path | None], list[Path]] = defaultdict(list)
    for path, header in headers.items():
        groups[text_of(header, "SeriesInstanceUID"), None if _is_slice(header) else path].append(path)
    return [
        Unit(
            tuple(paths),
            frozenset(text_of(headers[path], "SOPInstanceUID") for path in paths),
            series,
            _patient(headers[paths[0]]),
        )
        for (series, _), paths in groups.items()
    ]


def _is_slice(header: Dataset) -> bool:
    """Whether it is one slice of several: it states where it is, and is no object of several frames."""
    stated = header.get("ImagePositionPatient") and header.get("ImageOrientationPatient")
    return bool(stated and text_of(header, "SeriesInstanceUID")) and int(header.get("NumberOfFrames") or 1) == 1


def text_of(header: Dataset, name: str) -> str:
    """An attribute as text; "" where it is not stated."""
    return str(header.get(name) or "")


def _patient(header: Dataset) -> str | None:
    identity = text_of(header, "PatientID").strip()
    return hashlib.sha256(identity.encode()).hexdigest()[:16] if identity else None
