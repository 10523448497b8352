"""``python -m benchmarks.reading FOLDER…``: reads DICOM files beside pydicom and SimpleITK, and explains differences.

Without a folder the files are those that pydicom ships. SimpleITK is compared with where it is installed. A difference
without an explanation ends with exit code 1.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pydicom.data
import typer
from pydicom import FileDataset
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut
from pydicom.pixels.utils import pixel_array
from pydicom.uid import ExplicitVRBigEndian, JPEGBaseline8Bit, JPEGExtended12Bit, RLELossless

from benchmarks import results
from pellucid.core.image import Image
from pellucid.errors import PellucidError
from pellucid.io import read
from pellucid.io.dicom_file import is_dicom_file, is_directory

NAME = "reading"
Array = np.ndarray[Any, Any]
ROUNDING = 1e-6
"""Relative difference that float32 explains."""
LEVELS = 5 / 255
"""The most by which two decoders of lossy JPEG differ."""
EQUAL, BOTH, OURS, THEIRS, UNEXPLAINED = (
    "the same values",
    "refused by both: ",
    "refused here: ",
    "read here only: ",
    "not explained",
)


@dataclass(frozen=True)
class Difference:
    """What explains a difference: whether a file and the largest difference, over the range, are of this kind."""

    text: str
    fits: Callable[[FileDataset, Image, float], bool]


def _is(name: str, value: str) -> Callable[[FileDataset, Image, float], bool]:
    return lambda header, *_: str(header.get(name)) == value


def _reordered(_: FileDataset, image: Image, __: float) -> bool:
    numbers = [one.frame or 0 for one in image.instances]
    return numbers != sorted(numbers)


PYDICOM = (
    Difference("frames are in the order of their positions here", _reordered),
    Difference(
        "pydicom reads the palettes of big-endian files in the machine's byte order",
        lambda header, *_: (
            header.PhotometricInterpretation == "PALETTE COLOR"
            and header.file_meta.TransferSyntaxUID == ExplicitVRBigEndian
        ),
    ),
)
ITK = (
    Difference("frames are in the order of their positions here", _reordered),
    Difference("SimpleITK inverts MONOCHROME1", _is("PhotometricInterpretation", "MONOCHROME1")),
    Difference("SimpleITK keeps eight bits of a palette", _is("PhotometricInterpretation", "PALETTE COLOR")),
    Difference("SimpleITK leaves modality tables out", lambda header, *_: "ModalityLUTSequence" in header),
    Difference(
        "decoders of lossy JPEG round differently",
        lambda header, _, most: (
            header.file_meta.TransferSyntaxUID in (JPEGBaseline8Bit, JPEGExtended12Bit) and most <= LEVELS
        ),
    ),
    Difference(
        "SimpleITK mixes the bytes of colours with more than eight bits in RLE",
        lambda header, *_: (
            header.file_meta.TransferSyntaxUID == RLELossless
            and header.SamplesPerPixel == 3
            and header.BitsAllocated > 8
        ),
    ),
)


def by_pydicom(_: Path, header: FileDataset) -> Array:
    """The values (C, …) as pydicom decodes and maps them."""
    stored = pixel_array(header)
    if header.PhotometricInterpretation == "PALETTE COLOR":
        colours = apply_color_lut(stored, header)[..., :3]
        stored, full = colours, 255 if colours.max() <= 255 else 65535
    else:
        full = 2 ** int(header.BitsStored) - 1 if "BitsStored" in header else 1
    if stored.shape[-1] == 3 and header.PhotometricInterpretation != "MONOCHROME2":
        return np.asarray(np.moveaxis(stored, -1, 0) / full)
    return np.asarray(apply_modality_lut(stored, header), dtype=np.float64)[None]


def by_itk(path: Path, header: FileDataset) -> Array:
    """The values (C, …) as SimpleITK reads them."""
    itk = import_module("SimpleITK")
    itk.ProcessObject.SetGlobalWarningDisplay(False)
    image = itk.ReadImage(str(path))
    values = np.asarray(itk.GetArrayFromImage(image), dtype=np.float64)
    if image.GetNumberOfComponentsPerPixel() == 1:
        return values[None]
    return np.asarray(np.moveaxis(values, -1, 0) / (2 ** int(header.BitsStored) - 1))


def compared(path: Path, other: Callable[[Path, FileDataset], Array], known: tuple[Difference, ...]) -> str:
    """The outcome for one file, in words."""
    try:
        image, reason = read(path), ""
    except PellucidError as error:
        image, reason = None, str(error).partition(f"{path}: ")[2]
    header = pydicom.dcmread(path, force=True)
    try:
        theirs = other(path, header)
    except BaseException as error:  # a decoder in Rust panics with an error that is no Exception
        if isinstance(error, KeyboardInterrupt):
            raise
        if image is None:
            return BOTH + kind_of(reason)
        stated = "TransferSyntaxUID" in header.file_meta
        return THEIRS + (kind_of(str(error)) if stated else "the file states no transfer syntax")
    if image is None:
        return OURS + kind_of(reason)
    return _difference(image, header, theirs, known)


def kind_of(reason: str) -> str:
    """A reason without what belongs to one file: names, numbers, and what a decoder says."""
    short = re.sub(r"(cannot be decoded|is expected).*", r"\1", " ".join(reason.split()))
    return re.sub(r"\d+", "…", re.sub(r"'[^']*'|\([^)]*\)+", "…", short))


def _difference(image: Image, header: FileDataset, theirs: Array, known: tuple[Difference, ...]) -> str:
    ours = image.values.double().numpy()
    if theirs.size == ours.size:
        theirs = np.nan_to_num(theirs.astype(np.float32)).reshape(ours.shape)
        most = float(np.abs(np.nan_to_num(ours) - theirs).max() / max(1.0, np.abs(theirs).max()))
        if most <= ROUNDING:
            return EQUAL
    else:
        most = np.inf
    return next((one.text for one in known if one.fits(header, image, most)), UNEXPLAINED)


def files(folders: list[Path]) -> Iterator[Path]:
    """The DICOM files below folders, but the directories of discs."""
    for path in sorted(path for folder in folders for path in folder.rglob("*") if path.is_file()):
        if is_dicom_file(path) and not is_directory(path):
            yield path


def page(counts: dict[str, Counter[str]]) -> str:
    """A table of outcomes, with a column for each reader."""
    outcomes = sorted({outcome for each in counts.values() for outcome in each}, key=lambda text: (text != EQUAL, text))
    rows = [[outcome, *(str(each[outcome] or "") for each in counts.values())] for outcome in outcomes]
    return results.table(["outcome", *(f"beside {name}" for name in counts)], rows)


def main(folders: Annotated[list[Path] | None, typer.Argument()] = None) -> None:
    """Compare all files, write the table, and name what is not explained."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    given = folders or [Path(folder) for folder in pydicom.data.__path__]
    readers: dict[str, tuple[Callable[[Path, FileDataset], Array], tuple[Difference, ...]]] = {}
    readers["pydicom"] = (by_pydicom, PYDICOM)
    try:
        import_module("SimpleITK")
        readers["SimpleITK"] = (by_itk, ITK)
    except ImportError:
        typer.echo("SimpleITK is not installed: pip install simpleitk", err=True)
    counts: dict[str, Counter[str]] = {name: Counter() for name in readers}
    open_: list[str] = []
    for path in files(given):
        for name, (other, known) in readers.items():
            outcome = compared(path, other, known)
            counts[name][outcome] += 1
            if outcome == UNEXPLAINED:
                open_.append(f"{path.name} beside {name}")
    results.write(NAME, page(counts))
    typer.echo(page(counts))
    if open_:
        typer.echo("\n".join(open_), err=True)
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
