"""Reads one DICOM file with pydicom; a file without an image is refused, with the name of what it holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from pydicom import Dataset, FileDataset
from torch import Tensor

from pellucid.core.geometry import Geometry
from pellucid.core.image import Image, Instance
from pellucid.errors import ImageError, OptionError
from pellucid.io.dicom_file import check, is_dicom, kind_of, open_dicom
from pellucid.io.dicom_frames import frame_headers, header_of, own_headers, spacing_and_affine, tilt
from pellucid.io.dicom_pixels import Frame, decoded_frames, is_coloured, photometric
from pellucid.io.dicom_slide import check_matrix, is_slide, read_matrix
from pellucid.io.dicom_stack import Slice, check_choice, frames_in_order, selected
from pellucid.io.memory import check_headers, check_memory
from pellucid.io.reader import Reader, WindowLike
from pellucid.io.refusal import refused
from pellucid.io.selection import Select
from pellucid.io.window import NoWindowError, first, to_pixels

_TILTED = 0.1
"""Angle in degrees from which slices are called tilted."""


@dataclass(frozen=True)
class Decoded:
    """The decoded content of DICOM objects, before it is mapped for display.

    ``values`` (C, F, H, W) are those of the frames; ``padding`` (1, F, H, W) bool marks padding among grey values, None
    of an image in colour; ``headers`` are one per frame.
    """

    values: Tensor
    padding: Tensor | None
    headers: tuple[Dataset, ...]
    instances: tuple[Instance, ...]
    facts: Mapping[str, Any]

    def image(self, window: WindowLike, volume: bool) -> Image:
        """The image, or the ``volume`` of all frames, with pixels for display."""
        inverted = bool(self.facts["inverted"])
        if self.padding is not None:
            pixels, shown = to_pixels(self.values, self.padding, self.headers, window, inverted)
        elif window is not None:
            raise NoWindowError(f"window {window!r} was asked for; the image is in colour, which has no window")
        else:
            pixels, shown = self.values.float(), {"voi": None, "window": None}
        values, pixels = (one if volume else one[:, 0] for one in (self.values, pixels))
        geometry = Geometry.identity(tuple(pixels.shape[1:]))
        spacing, affine = spacing_and_affine(self.headers, volume)
        if volume and affine is not None and (angle := tilt(affine)) > _TILTED:
            shown |= {"tilt_degrees": round(angle, 2)}
        image = Image(pixels, values.float(), geometry, {**self.facts, **shown})
        return replace(image, spacing=spacing, affine=affine, instances=self.instances)


def read_dicom(path: Path, window: WindowLike = None, frame: int | None = None, select: Select | None = None) -> Image:
    """Read one DICOM image: grey (1, H, W) or colour (3, H, W); several frames are a volume (C, F, H, W).

    ``values`` are those after the modality LUT or the rescale (Hounsfield units for CT), or the colours.
    ``pixels``, in [0, 1], are mapped by the ``window``, else by the VOI LUT, else by the first stored window, else
    from the minimum and maximum of all values but padding; MONOCHROME1 is inverted. ``frame`` is the number of the
    frame to read, from 1, as they are stored; else frames that state their positions are in the order of these.
    ``select``: the values of the frames to read, where several are at a position. A slide is its total pixel matrix.

    Raises:
        ImageError: the file is broken or too large, or holds no image; the message names what it holds. Or several
            frames are at a position, and none was selected.
        OptionError: the window is invalid.
    """
    with one_line_errors(path):
        dataset = open_dicom(path)
        count = check(path, dataset)
        if frame is not None and not 1 <= frame <= count:
            raise refused(path, f"frame {frame} was asked for; it has {count}, counted from 1")
        if frame is None and is_slide(dataset):
            return _slide(path, dataset, count, select or {}).image(window, volume=False)
        _check_size(path, dataset, count if frame is None and not select else 1)
        if frame is None:
            slices = frames_in_order(path, _chosen(path, dataset, count, select or {}))
        elif select:
            raise refused(path, f"frame {frame} and select were given: give one of them")
        else:
            slices = slices_of(path, dataset, count, frame)
        decoded = decode(path, slices, {path: dataset})
        return decoded.image(window, volume=len(slices) > 1)


def _chosen(path: Path, dataset: Dataset, count: int, select: Select) -> list[Slice]:
    """The frames of an object that have the selected values."""
    check_choice(path, path, count, own_headers(dataset), select)
    return selected(path, slices_of(path, dataset, count), select)


def slices_of(path: Path, dataset: Dataset, count: int, frame: int | None = None) -> list[Slice]:
    """The frames of an object, or one of them, with their headers."""
    numbers = range(1, count + 1) if frame is None else range(frame, frame + 1)
    header = header_of(dataset)
    check_headers(path, min(own_headers(header), len(numbers)), len(header))
    headers = frame_headers(header, numbers)
    return [Slice(path, header, number, count) for number, header in zip(numbers, headers, strict=True)]


def decode(where: Path, slices: Sequence[Slice], opened: Mapping[Path, FileDataset] | None = None) -> Decoded:
    """Decode slices, in their order, into one volume; call it within ``one_line_errors``.

    ``opened`` are files that are open already. ``where`` is what an error of the whole names.
    """
    values: Tensor | None = None
    padding: Tensor | None = None
    facts: dict[str, Any] = {}
    for index, frame, dataset in _decoded(where, slices, opened or {}):
        if values is None:
            facts = _facts(dataset)
            values, padding = _allocated(where, dataset, frame, len(slices))
        if values[:, index].shape != frame.values.shape or (padding is None) != is_coloured(dataset):
            raise refused(
                slices[index].path,
                f"a slice like {slices[0].name} was expected; it has another size, or colours: put each kind into a "
                "folder of its own",
            )
        values[:, index] = frame.values
        if frame.padding is not None and padding is not None:
            padding = padding if padding.is_contiguous() else padding.clone()
            padding[0, index] = frame.padding
    if values is None:
        raise refused(where, "it holds no frames")
    instances = tuple(Instance(one.header, one.number if one.count > 1 else None) for one in slices)
    return Decoded(values, padding, tuple(one.header for one in slices), instances, facts)


def _decoded(
    where: Path, slices: Sequence[Slice], opened: Mapping[Path, FileDataset]
) -> Iterator[tuple[int, Frame, FileDataset]]:
    """Each decoded frame with its place among the slices; every file is opened once."""
    placed = sorted(enumerate(slices), key=lambda one: (str(one[1].path), one[1].number))
    for path, group in groupby(placed, key=lambda one: one[1].path):
        members = list(group)
        with one_line_errors(path):
            dataset = opened.get(path) or open_dicom(path)
            count = check(path, dataset)
            _check_size(where, dataset, len(slices))
            numbers, headers = [one.number for _, one in members], [one.header for _, one in members]
            frames = decoded_frames(path, dataset, headers, numbers, count)
            for (index, _), frame in zip(members, frames, strict=True):
                yield index, frame, dataset


def _check_size(where: Path, dataset: Dataset, frames: int) -> None:
    check_memory(where, 3 if is_coloured(dataset) else 1, frames, int(dataset.Rows), int(dataset.Columns))


def _allocated(where: Path, dataset: Dataset, frame: Frame, count: int) -> tuple[Tensor, Tensor | None]:
    """Memory for the values of all frames, and for their padding; it is not touched before it is filled."""
    _check_size(where, dataset, count)
    channels, *size = frame.values.shape
    exact = torch.float32 if int(dataset.get("BitsAllocated") or 16) <= 16 else torch.float64
    values = torch.empty(channels, count, *size, dtype=exact)
    return values, None if is_coloured(dataset) else torch.zeros((), dtype=torch.bool).expand(1, count, *size)


def _slide(path: Path, dataset: FileDataset, count: int, select: Select) -> Decoded:
    """The total pixel matrix of a slide as one image."""
    check_matrix(path, dataset, count)
    matrix, header = read_matrix(path, dataset, slices_of(path, dataset, count), select)
    padding = None if is_coloured(dataset) else torch.zeros((), dtype=torch.bool).expand(1, 1, *matrix.shape[1:])
    return Decoded(matrix[:, None], padding, (header,), (Instance(header),), _facts(dataset))


@contextmanager
def one_line_errors(path: Path) -> Iterator[None]:
    """Turn every error within into an ImageError of one line that names the file."""
    try:
        yield
    except (ImageError, OptionError):
        raise
    except NoWindowError as error:
        raise refused(path, error) from None
    # Any attribute may hold anything, and the resulting error differs between versions of pydicom. Its text is
    # left out: it may quote the patient's data.
    except Exception as error:
        raise refused(path, f"its description of the pixels is broken ({type(error).__name__})") from error


def _facts(dataset: FileDataset) -> dict[str, Any]:
    """The file's technical attributes for the provenance, without patient data."""
    modality = first(dataset.get("Modality"))
    return {
        "format": "DICOM",
        "modality": None if modality is None else str(modality),
        "sop_class": kind_of(dataset),
        "transfer_syntax": dataset.file_meta.TransferSyntaxUID.name,
        "bits": int(dataset.get("BitsStored") or dataset.get("BitsAllocated") or 8),
        "photometric_interpretation": photometric(dataset),
        "inverted": photometric(dataset) == "MONOCHROME1",
    }


READER = Reader(("DICOM",), (".dcm", ".dicom"), accepts=lambda _, head: is_dicom(head), read=read_dicom)
