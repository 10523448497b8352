"""Reads NIfTI, MGH and other volumes beside nibabel and SimpleITK: values, and places in the patient."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from benchmarks.reading_outcomes import BOTH, EQUAL, OURS, ROUNDING, THEIRS, UNEXPLAINED, Array, kind_of
from pellucid.errors import PellucidError
from pellucid.io import read
from pellucid.io.nifti_axes import AXES

ENDINGS = (".nii", ".nii.gz", ".hdr", ".mgh", ".mgz", ".mnc", ".par", ".head", ".v", ".dcm.gz", ".nrrd", ".mha", ".mhd")
"""By which files of volumes are found; what holds values alone (.img, .rec, .brik) belongs to another file."""
_NEAR = 1e-3
"""The most, in mm, by which places in the patient differ."""


@dataclass(frozen=True)
class Volume:
    """``values`` (…, slices, rows, columns), and the ``affine`` to (right, anterior, superior) in mm."""

    values: Array
    affine: Array


@dataclass(frozen=True)
class Difference:
    """What explains a difference from a volume that another reader read."""

    text: str
    fits: Callable[[Path, Volume, Volume], bool]


def by_pellucid(path: Path) -> Volume:
    """All volumes of a file, each read by itself."""
    lengths = _further(path)
    values, affine = [], np.eye(4)
    for index in product(*map(range, lengths)):
        chosen = {name: str(at + 1) for name, at, length in zip(AXES, index, lengths, strict=False) if length > 1}
        image = read(path, select=chosen)
        values.append(image.values[0].double().numpy())
        if image.affine is not None:
            affine = image.affine.numpy()
    return Volume(np.stack(values), affine)


def _further(path: Path) -> tuple[int, ...]:
    """The lengths of the axes after the third; none of a file that nibabel does not open."""
    try:
        file: Any = nibabel.load(path)
        return tuple(file.shape[3:])
    except Exception:
        return ()


def by_nibabel(path: Path) -> Volume:
    """The values and the affine as nibabel reads them."""
    load: Any = nibabel.ecat.load if path.suffix == ".v" else nibabel.load
    file = load(path)
    return Volume(np.asarray(file.get_fdata()).T, np.asarray(file.affine))


def by_itk(path: Path) -> Volume:
    """The values and the affine as SimpleITK reads them."""
    itk = import_module("SimpleITK")
    itk.ProcessObject.SetGlobalWarningDisplay(False)
    image = itk.ReadImage(str(path))
    affine = np.eye(4)
    axes = min(3, image.GetDimension())
    direction = np.reshape(image.GetDirection(), (image.GetDimension(),) * 2)[:axes, :axes]
    affine[:axes, :axes] = direction * np.asarray(image.GetSpacing())[:axes]
    affine[:axes, 3] = np.asarray(image.GetOrigin())[:axes]
    values = np.asarray(itk.GetArrayFromImage(image), dtype=np.float64)
    if image.GetNumberOfComponentsPerPixel() > 1:
        values = np.moveaxis(values, -1, 0)
    return Volume(values, np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine)


def _same_place(ours: Volume, theirs: Volume) -> bool:
    return bool(np.allclose(ours.affine, theirs.affine, atol=_NEAR))


def _same_values(ours: Volume, theirs: Volume, numbers: Array | None = None) -> bool:
    """Whether the values are the same where they are ``numbers``: what is none has the lowest value here."""
    if ours.values.size != theirs.values.size:
        return False
    known = theirs.values.astype(np.float32).reshape(ours.values.shape)
    where = np.isfinite(known) if numbers is None else numbers.reshape(known.shape)
    return bool(np.allclose(ours.values[where], known[where], rtol=ROUNDING, atol=ROUNDING))


def _but_for_nan(path: Path, ours: Volume, theirs: Volume) -> bool:
    numbers = np.isfinite(by_nibabel(path).values)
    return not numbers.all() and _same_place(ours, theirs) and _same_values(ours, theirs, numbers)


ITK = (Difference("SimpleITK reads NaN as 0", _but_for_nan),)


def compared(path: Path, other: Callable[[Path], Volume], known: tuple[Difference, ...]) -> str:
    """The outcome for one file, in words."""
    ours, reason = None, ""
    try:
        ours = by_pellucid(path)
    except PellucidError as error:
        reason = kind_of(str(error).partition(f"{path}: ")[2])
    try:
        theirs = other(path)
    except Exception as error:
        return BOTH + reason if ours is None else THEIRS + kind_of(str(error))
    if ours is None:
        return OURS + reason
    if _same_values(ours, theirs) and _same_place(ours, theirs):
        return EQUAL
    return next((one.text for one in known if one.fits(path, ours, theirs)), UNEXPLAINED)


def files(folders: list[Path]) -> Iterator[Path]:
    """The files of volumes below folders."""
    for path in sorted(path for folder in folders for path in folder.rglob("*") if path.is_file()):
        if path.name.lower().endswith(ENDINGS):
            yield path
