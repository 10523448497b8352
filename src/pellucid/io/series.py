"""Reads a folder of DICOM slices as a volume."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pellucid.core.default_device import on_cpu_by_default
from pellucid.core.image import Image
from pellucid.errors import ImageError, warn
from pellucid.io.dicom import decode, one_line_errors, slices_of
from pellucid.io.dicom_file import frame_count, is_dicom_file, is_image, open_dicom, read_tags
from pellucid.io.dicom_frames import own_headers
from pellucid.io.dicom_stack import Slice, check_choice, in_order, selected
from pellucid.io.reader import WindowLike
from pellucid.io.refusal import digest, one_line, refused
from pellucid.io.selection import Select, SelectLike, parsed_select
from pellucid.io.window import first

_SHOWN = 3
"""Number of skipped files that a warning names."""


@on_cpu_by_default
def read_series(
    folder: str | os.PathLike[str],
    window: str | tuple[float, float] | None = None,
    series: str | int | None = None,
    select: SelectLike = None,
) -> Image:
    """Read a folder of DICOM slices as a volume (1, D, H, W), sorted by position.

    ``values`` are those after the modality LUT or the rescale of each slice. ``pixels``, for display, are mapped by the
    ``window``, as in ``read_image``, else by the stored window if all slices have the same, else by the range of all
    values. ``spacing`` is (slices, rows, columns) in mm, ``affine`` maps (column, row, slice) to the patient,
    ``instances`` are the slices in order. A file is DICOM if its content is, whatever its name; a PellucidWarning
    names files that hold no slice.

    ``series``, where the folder holds several: the SeriesInstanceUID of one, or its SeriesNumber if only one has it.
    ``select``, where several slices are at the same position (time points, b-values, echoes): the value of one, as
    "bvalue=1000" or {"bvalue": 1000}; without it, the error lists the values.

    Raises:
        ImageError: the folder holds no series, or several and none was chosen; several slices are at a position, and
            none was selected; a slice does not state its position, has another size or orientation, or is missing; the
            volume takes more memory than PELLUCID_MAX_GIB allows (8, if it is not set).
        OptionError: the window or the selection is invalid.
    """
    chosen = parsed_select(select)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found, skipped = slices_in(Path(folder))
        kept = of_series(Path(folder), found, series)
        if not kept:
            raise no_series(Path(folder), found)
        image = read_slices(Path(folder), kept, window, chosen)
    if skipped:
        warn(skipping(Path(folder), skipped))
    return image


def skipping(where: object, skipped: Sequence[Path]) -> str:
    """The text of a warning that names files which hold no image."""
    names = ", ".join(path.name for path in skipped[:_SHOWN]) + (", …" if len(skipped) > _SHOWN else "")
    files = "1 file that holds no image was" if len(skipped) == 1 else f"{len(skipped)} files that hold no image were"
    return one_line(f"{where}: {files} skipped: {names}")


def series_of(path: Path) -> str | None:
    """The SeriesInstanceUID of a file that holds one slice; None of any other file, or one that cannot be read."""
    try:
        if not is_dicom_file(path):
            return None
        header = read_tags(path, ("SeriesInstanceUID", "NumberOfFrames", "Rows"))
        single = int(first(header.get("NumberOfFrames")) or 1) == 1 and header.get("Rows") is not None
        return str(header.get("SeriesInstanceUID") or "") or None if single else None
    except Exception:  # reading the file will report what is wrong with it
        return None


def of_series(where: Path, paths: Sequence[Path], series: str | int | None) -> list[Path]:
    """The files of one series, by its UID or number; all of them if none is asked for.

    Raises:
        ImageError: the number is that of several series.
    """
    if series is None:
        return list(paths)
    keys = {path: _series_keys(path) for path in paths}
    asked = str(series).strip()
    kept = [path for path in paths if asked in keys[path]]
    if len({keys[path][0] for path in kept}) > 1:
        raise refused(where, f"series {asked} was asked for; several series have this number: give the UID of one")
    return kept


def no_series(where: Path, paths: Sequence[Path]) -> ImageError:
    """The error for files of which none is of the series that was asked for; it names no UID, which identifies."""
    numbers = {number for _, number in map(_series_keys, paths) if number}
    listed = ", ".join(sorted(numbers, key=lambda text: (len(text), text)))
    has = f"its series have the numbers {listed}: give one of them" if numbers else "give its SeriesInstanceUID"
    return refused(where, f"a series was asked for; it has none of this UID or number; {has}")


def _series_keys(path: Path) -> tuple[str, str]:
    """The SeriesInstanceUID and the SeriesNumber of a file, each "" if it states none."""
    try:
        header = read_tags(path, ("SeriesInstanceUID", "SeriesNumber"))
        number = header.get("SeriesNumber")
        return str(header.get("SeriesInstanceUID") or ""), "" if number is None else str(number).strip()
    except Exception:  # reading the file will report what is wrong with it
        return "", ""


def slices_in(folder: Path) -> tuple[list[Path], list[Path]]:
    """The DICOM images directly in a folder, sorted by name, and the files that hold none.

    Raises:
        ImageError: it is not a folder, cannot be read, or holds no DICOM image.
    """
    if not folder.is_dir():
        raise refused(folder, "a folder of DICOM slices was expected, it is not a folder")
    try:
        files = [path for path in sorted(folder.iterdir()) if path.is_file() and not path.name.startswith(".")]
        dicom = {path for path in files if is_dicom_file(path)}
    except OSError as error:
        raise refused(folder, error.strerror or error) from error
    found = [path for path in files if path in dicom and _holds_image(path)]
    if not found:
        raise refused(folder, "it holds no DICOM slices")
    return found, [path for path in files if path not in set(found)]


def _holds_image(path: Path) -> bool:
    """Whether a DICOM file holds an image, or is broken, which reading it will report."""
    try:
        return is_image(read_tags(path, ("Rows", "SOPClassUID")))
    except Exception:
        return True


def read_slices(folder: Path, paths: Sequence[Path], window: WindowLike = None, select: Select | None = None) -> Image:
    """As ``read_series``, of given files, for use in threads: the process's warning filters are not touched."""
    slices = [one for path in paths for one in _slices(folder, path, select or {})]
    if not slices:
        raise refused(folder, "it holds no DICOM slices")
    _check_one_series(folder, slices)
    slices = selected(folder, slices, select or {})
    with one_line_errors(folder):
        _check_alike(folder, slices)
        ordered = in_order(folder, slices)
        whole = decode(folder, ordered)
        image = replace(whole, facts={**whole.facts, "slices": len(ordered)}).image(window, volume=True)
    digests = [digest(path) for path in dict.fromkeys(one.path for one in ordered)]
    return replace(image, digest=hashlib.sha256("".join(digests).encode()).hexdigest())


def _slices(folder: Path, path: Path, select: Select) -> list[Slice]:
    """The slices that a file holds, with their headers."""
    with one_line_errors(path):
        header = open_dicom(path, header_only=True)
        if not is_image(header):
            return []
        count = frame_count(path, header)
        check_choice(folder, path, count, own_headers(header), select)
        return slices_of(path, header, count)


def _check_one_series(folder: Path, slices: Sequence[Slice]) -> None:
    """Refuse slices of several series; the message says how to name each."""
    counts = Counter(str(one.header.get("SeriesInstanceUID")) for one in slices)
    if len(counts) == 1:
        return
    numbers = {str(one.header.get("SeriesInstanceUID")): first(one.header.get("SeriesNumber")) for one in slices}
    start = slices[0]
    other = next(one for one in slices if one.header.get("SeriesInstanceUID") != start.header.get("SeriesInstanceUID"))
    what = f"its {len(slices)} slices are of {len(counts)} series ({start.name} differs from {other.name})"
    known = [number for number in numbers.values() if number is not None]
    if len(set(known)) < len(counts):
        raise refused(folder, f"{what}: give the UID of one, or put each into a folder of its own")
    listed = ", ".join(f"{numbers[uid]} ({count})" for uid, count in counts.items())
    raise refused(folder, f"{what}: give series= with the UID or the number of one: {listed}")


def _check_alike(folder: Path, slices: Sequence[Slice]) -> None:
    """Refuse slices of different sizes; the message names two of them."""
    start = slices[0]
    for name, noun in (("Rows", "heights"), ("Columns", "widths")):
        kinds = {str(one.header.get(name)) for one in slices}
        if len(kinds) > 1:
            other = next(one for one in slices if one.header.get(name) != start.header.get(name))
            raise refused(
                folder,
                f"its {len(slices)} slices are of {len(kinds)} {noun} ({start.name} differs from {other.name}): "
                f"put each into a folder of its own",
            )
