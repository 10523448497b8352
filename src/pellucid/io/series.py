"""Reads a folder of DICOM slices as a volume."""

from __future__ import annotations

import hashlib
import math
import os
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from pydicom import Dataset, dcmread
from torch import Tensor

from pellucid.core.image import Image
from pellucid.io.dicom import Decoded, decode, is_dicom_file, one_line_errors
from pellucid.io.dicom_file import check_inflated
from pellucid.io.dicom_frames import plane
from pellucid.io.reader import WindowLike
from pellucid.io.refusal import MAX_PIXELS, digest, refused
from pellucid.io.window import first

_TOLERANCE = 0.02
"""Allowed deviation of the distances between slices, as a share of their median."""


def read_series(folder: str | os.PathLike[str], window: str | tuple[float, float] | None = None) -> Image:
    """Read a folder of single-frame DICOM slices as a volume (1, D, H, W), sorted by position.

    ``values`` are those after the modality LUT or the rescale of each slice. ``pixels``, for display, are mapped by the
    ``window``, as in ``read_image``, else by the stored window if all slices have the same, else by the range of all
    values. ``spacing`` is (slices, rows, columns) in mm, ``affine`` maps (column, row, slice) to the patient,
    ``instances`` are the slices in order. Files that are not DICOM are ignored.

    Raises:
        ImageError: the folder holds no series, or several; a slice does not state its position, has another size or
            orientation, has the position of another slice, or is missing.
        OptionError: the window is invalid.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return read_slices(Path(folder), slices_in(Path(folder)), window)


def series_of(path: Path) -> str | None:
    """The SeriesInstanceUID of a file that holds one slice; None of any other file, or one that cannot be read."""
    try:
        if not is_dicom_file(path):
            return None
        check_inflated(path)
        tags = ["SeriesInstanceUID", "NumberOfFrames", "Rows"]
        header = dcmread(path, stop_before_pixels=True, specific_tags=tags)
        single = int(first(header.get("NumberOfFrames")) or 1) == 1 and header.get("Rows") is not None
        return str(header.get("SeriesInstanceUID") or "") or None if single else None
    except Exception:  # reading the file will report what is wrong with it
        return None


def slices_in(folder: Path) -> list[Path]:
    """The DICOM files directly in a folder, sorted by name.

    Raises:
        ImageError: it is not a folder, cannot be read, or holds none.
    """
    if not folder.is_dir():
        raise refused(folder, "a folder of DICOM slices was expected, it is not a folder")
    files = [path for path in sorted(folder.iterdir()) if path.is_file() and not path.name.startswith(".")]
    try:
        found = [path for path in files if is_dicom_file(path)]
    except OSError as error:
        raise refused(folder, error.strerror or error) from error
    if not found:
        raise refused(folder, "it holds no DICOM slices")
    return found


def read_slices(folder: Path, paths: Sequence[Path], window: WindowLike = None) -> Image:
    """As ``read_series``, of given files, for use in threads: the process's warning filters are not touched."""
    headers = {path: header for path in paths if (header := _header(path)).get("Rows") is not None}
    if not headers:
        raise refused(folder, "it holds no DICOM slices")
    _check_alike(folder, headers)
    ordered = _in_order(folder, headers)
    parts = [_slice(path) for path in ordered]
    whole = Decoded(
        torch.cat([part.values for part in parts], dim=1),
        torch.cat([part.padding for part in parts if part.padding is not None], dim=1),
        tuple(header for part in parts for header in part.headers),
        tuple(instance for part in parts for instance in part.instances),
        {**parts[0].facts, "slices": len(parts)},
    )
    digests = [digest(path) for path in ordered]
    with one_line_errors(folder):
        image = whole.image(window, volume=True)
    return replace(image, digest=hashlib.sha256("".join(digests).encode()).hexdigest())


def _header(path: Path) -> Dataset:
    with one_line_errors(path):
        check_inflated(path)
        return dcmread(path, stop_before_pixels=True)


def _slice(path: Path) -> Decoded:
    with one_line_errors(path):
        part = decode(path)
        if part.padding is None or len(part.headers) > 1:
            raise refused(path, "a grey slice was expected; it is in colour, or holds several frames")
        return part


def _check_alike(folder: Path, headers: dict[Path, Dataset]) -> None:
    """Refuse slices of different series or sizes; the message names two of them."""
    start, *_ = headers
    for name, noun in (("SeriesInstanceUID", "series"), ("Rows", "heights"), ("Columns", "widths")):
        kinds = Counter(str(header.get(name)) for header in headers.values())
        if len(kinds) > 1:
            other = next(path for path in headers if headers[path].get(name) != headers[start].get(name))
            raise refused(
                folder,
                f"its {len(headers)} slices are of {len(kinds)} {noun} ({start.name} differs from {other.name}): "
                f"put each into a folder of its own",
            )
    size = [int(headers[start].get(name) or 0) for name in ("Rows", "Columns")]
    if len(headers) * math.prod(size) > MAX_PIXELS:
        raise refused(folder, f"its {len(headers)} slices have more than {MAX_PIXELS:,} pixels")


def _in_order(folder: Path, headers: dict[Path, Dataset]) -> list[Path]:
    """The slices ordered along the normal of their planes, after checking that they are parallel and equally spaced."""
    planes = {path: plane(header) for path, header in headers.items()}
    without = next((path for path, one in planes.items() if one is None), None)
    if without is not None:
        raise refused(folder, f"{without.name} does not state its position, orientation and spacing")
    known = {path: one for path, one in planes.items() if one is not None}
    start, (_, along, down) = next(iter(known.items()))
    for path, (_, *steps) in known.items():
        if not all(torch.allclose(own, other, atol=1e-3) for own, other in zip(steps, (along, down), strict=True)):
            raise refused(folder, f"{path.name} has another orientation or spacing than {start.name}")
    normal = torch.linalg.cross(along, down)
    normal /= normal.norm()
    heights = {path: float(one[0] @ normal) for path, one in known.items()}
    paths = sorted(heights, key=lambda path: heights[path])
    _check_even(folder, paths, [heights[path] for path in paths])
    return paths


def _check_even(folder: Path, paths: Sequence[Path], heights: Sequence[float]) -> None:
    """Refuse slices at the same position, and gaps."""
    if len(paths) == 1:
        return
    steps: Tensor = torch.tensor(heights, dtype=torch.float64).diff()
    usual = float(steps.median())
    for index, step in enumerate(steps.tolist()):
        between = f"{paths[index].name} and {paths[index + 1].name}"
        if step < _TOLERANCE * max(usual, 1e-3):
            raise refused(folder, f"{between} have the same position: remove one of them")
        if abs(step - usual) > max(_TOLERANCE * usual, 0.01):
            raise refused(
                folder, f"{between} are {step:.2f} mm apart, others {usual:.2f}: a slice is missing or surplus"
            )
