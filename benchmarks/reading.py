"""``python -m benchmarks.reading FOLDER…``: reads files that packages ship beside other readers.

The files are those of the installed pydicom and nibabel, and of the folders: each holds the unpacked distribution of
a package (``pip download --no-deps``). DICOM is compared with pydicom, volumes with nibabel, and both with SimpleITK
where it is installed. A difference without an explanation ends with exit code 1.
"""

from __future__ import annotations

import logging
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import import_module, metadata
from pathlib import Path
from typing import Annotated

import nibabel
import numpy as np
import pydicom
import typer
from pydicom import FileDataset
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut
from pydicom.pixels.utils import pixel_array
from pydicom.uid import ExplicitVRBigEndian, JPEGBaseline8Bit, JPEGExtended12Bit, RLELossless

from benchmarks import reading_volumes, results
from benchmarks.reading_outcomes import (
    BOTH,
    EQUAL,
    OURS,
    ROUNDING,
    THEIRS,
    UNEXPLAINED,
    Array,
    kind_of,
    packages_table,
    table,
    was_read,
)
from pellucid.core.image import Image
from pellucid.errors import PellucidError
from pellucid.io import read
from pellucid.io.dicom_file import is_dicom_file, is_directory

NAME = "reading"
LEVELS = 5 / 255
"""The most by which two decoders of lossy JPEG differ."""


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
        "SimpleITK leaves YBR_FULL_422 in JPEG as it is; DCMTK converts it as here",
        lambda header, *_: (
            header.file_meta.TransferSyntaxUID == JPEGBaseline8Bit
            and header.PhotometricInterpretation == "YBR_FULL_422"
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


def packages(folders: list[Path]) -> dict[str, Path]:
    """The folders by the names and versions of the packages in them, after the installed ones."""
    installed = {
        f"{one.__name__} {metadata.version(one.__name__)}": Path(str(one.__file__)).parent for one in (pydicom, nibabel)
    }
    return installed | {_name_of(folder): folder for folder in folders}


def _name_of(folder: Path) -> str:
    """What a distribution's own description calls it; else the folder's name."""
    stated = next((path for name in ("METADATA", "PKG-INFO") for path in sorted(folder.rglob(name))), None)
    if stated is None:
        return folder.name
    found = metadata.Distribution.at(stated.parent).metadata
    return f"{found['Name']} {found['Version']}"


Compare = Callable[[Path], str]


def comparisons() -> dict[str, tuple[Callable[[list[Path]], Iterator[Path]], dict[str, Compare]]]:
    """Of each kind of file: which files are of it, and what a file comes to beside each reader."""
    volumes = partial(reading_volumes.compared, other=reading_volumes.by_nibabel, known=())
    images = partial(compared, other=by_pydicom, known=PYDICOM)
    found: dict[str, tuple[Callable[[list[Path]], Iterator[Path]], dict[str, Compare]]] = {
        "DICOM": (files, {"pydicom": images}),
        "volumes": (reading_volumes.files, {"nibabel": volumes}),
    }
    try:
        import_module("SimpleITK")
    except ImportError:
        typer.echo("SimpleITK is not installed: pip install simpleitk", err=True)
        return found
    found["DICOM"][1]["SimpleITK"] = partial(compared, other=by_itk, known=ITK)
    found["volumes"][1]["SimpleITK"] = partial(
        reading_volumes.compared, other=reading_volumes.by_itk, known=reading_volumes.ITK
    )
    return found


def main(folders: Annotated[list[Path] | None, typer.Argument()] = None) -> None:
    """Compare all files, write the tables, and name what is not explained."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    kinds = comparisons()
    counts = {kind: {name: Counter[str]() for name in readers} for kind, (_, readers) in kinds.items()}
    open_: list[str] = []
    held: list[tuple[str, list[int]]] = []
    for package, folder in packages(folders or []).items():
        of_package: list[int] = []
        for kind, (files_of, readers) in kinds.items():
            outcomes = [(path, {name: one(path) for name, one in readers.items()}) for path in files_of([folder])]
            for path, by_reader in outcomes:
                for name, outcome in by_reader.items():
                    counts[kind][name][outcome] += 1
                    open_ += [f"{path.name} beside {name}"] if outcome == UNEXPLAINED else []
            of_package += [len(outcomes), sum(was_read(next(iter(found.values()))) for _, found in outcomes)]
        held.append((package, of_package))
    page = "\n".join([packages_table(held, list(kinds)), *(table(each) for each in counts.values())])
    results.write(NAME, page)
    typer.echo(page)
    if open_:
        typer.echo("\n".join(open_), err=True)
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
