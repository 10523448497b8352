"""Reads one DICOM file with pydicom; a file without an image is refused, with the name of what it holds."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydicom import Dataset, FileDataset
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut
from pydicom.pixels.utils import pixel_array
from torch import Tensor

from pellucid.core.geometry import Geometry
from pellucid.core.image import Image, Instance
from pellucid.errors import ImageError, OptionError
from pellucid.io.dicom_codestream import check_codestreams
from pellucid.io.dicom_file import check, kind_of, open_dicom
from pellucid.io.dicom_frames import frame_headers, header_of, instances, spacing_and_affine
from pellucid.io.raster import is_raster
from pellucid.io.reader import Reader, WindowLike
from pellucid.io.refusal import refused
from pellucid.io.window import NoWindowError, first, is_padding, to_pixels


def is_dicom(head: bytes) -> bool:
    """Whether a file that begins with ``head`` has a DICOM preamble."""
    return head[128:132] == b"DICM"


def is_dicom_file(path: Path) -> bool:
    """Whether a file has a DICOM preamble; ``OSError`` if it cannot be read."""
    with path.open("rb") as file:
        return is_dicom(file.read(132))


@dataclass(frozen=True)
class Decoded:
    """The decoded content of a DICOM object, before it is mapped for display.

    ``values`` (C, F, H, W) float64 are those of its frames; ``padding`` (1, F, H, W) bool marks padding among grey
    values, None of an image in colour; ``headers`` are one per frame.
    """

    values: Tensor
    padding: Tensor | None
    headers: tuple[Dataset, ...]
    instances: tuple[Instance, ...]
    facts: Mapping[str, Any]

    def image(self, window: WindowLike, volume: bool) -> Image:
        """The image, or the ``volume`` of all frames, with pixels for display."""
        if self.padding is not None:
            pixels, shown = to_pixels(self.values, self.padding, self.headers, window)
        elif window is not None:
            raise NoWindowError(f"window {window!r} was asked for; the image is in colour, which has no window")
        else:
            pixels, shown = self.values, {"voi": None, "window": None}
        pixels = 1 - pixels if self.facts["inverted"] else pixels
        values, pixels = (one if volume else one[:, 0] for one in (self.values, pixels))
        geometry = Geometry.identity(tuple(pixels.shape[1:]))
        spacing, affine = spacing_and_affine(self.headers, volume)
        image = Image(pixels.float(), values.float(), geometry, {**self.facts, **shown})
        return replace(image, spacing=spacing, affine=affine, instances=self.instances)


def read_dicom(path: Path, window: WindowLike = None, frame: int | None = None, bare: bool = False) -> Image:
    """Read one DICOM image: grey (1, H, W) or colour (3, H, W); several frames are a volume (C, F, H, W).

    ``values`` are those after the modality LUT or the rescale (Hounsfield units for CT), or the colours.
    ``pixels``, in [0, 1], are mapped by the ``window``, else by the VOI LUT, else by the first stored window, else
    from the minimum and maximum of all values but padding; MONOCHROME1 is inverted. ``frame`` is the number of the
    frame to read, from 1. ``bare``: the file has no DICOM preamble.

    Raises:
        ImageError: the file is broken or too large, or holds no image; the message names what it holds.
        OptionError: the window is invalid.
    """
    with one_line_errors(path):
        decoded = decode(path, frame, bare)
        return decoded.image(window, volume=len(decoded.headers) > 1)


def decode(path: Path, frame: int | None = None, bare: bool = False) -> Decoded:
    """Decode a file; call it within ``one_line_errors``."""
    dataset = open_dicom(path, bare)
    frames, count = check(path, dataset, frame)
    stored = _stored(path, dataset, frames, count)
    headers = tuple(frame_headers(header_of(dataset), frames))
    photometric = str(dataset.get("PhotometricInterpretation") or "MONOCHROME2")
    facts = _facts(dataset) | {
        "photometric_interpretation": photometric,
        "inverted": photometric == "MONOCHROME1",
    }
    if stored.ndim == 4 or photometric == "PALETTE COLOR":
        values, padding = _colours(dataset, stored), None
    else:
        values, padding = _greys(dataset, stored, headers)
    return Decoded(values, padding, headers, instances(headers, frames, count), facts)


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


def _stored(path: Path, dataset: FileDataset, frames: range, count: int) -> np.ndarray[Any, Any]:
    """The decoded stored pixels, (F, H, W) or (F, H, W, 3); YBR is converted to RGB."""
    syntax = dataset.file_meta.TransferSyntaxUID
    encapsulated = "PixelData" in dataset and dataset["PixelData"].is_undefined_length
    if encapsulated and not syntax.is_compressed:
        raise refused(path, f"its pixels are compressed, but its transfer syntax is {syntax.name}")
    try:
        check_codestreams(path, dataset)
        pixels = pixel_array(dataset) if len(frames) == count else pixel_array(dataset, index=frames[0] - 1)
    except ImageError:
        raise
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # decoders' errors have no common base; a Rust panic is not an Exception
        raise refused(path, f"its pixels ({syntax.name}) cannot be decoded: {error}") from error
    colours = () if int(dataset.get("SamplesPerPixel") or 1) == 1 else (3,)
    size = (int(dataset.Rows), int(dataset.Columns), *colours)
    if pixels.size == len(frames) * math.prod(size):
        return pixels.reshape(len(frames), *size)
    raise refused(path, f"its pixels have the shape {pixels.shape}; grey or three colours were expected")


def _colours(dataset: Dataset, stored: np.ndarray[Any, Any]) -> Tensor:
    """The colours, (3, F, H, W) in [0, 1]."""
    if stored.ndim == 4:
        full = 2 ** int(dataset.BitsStored) - 1
    else:
        stored = apply_color_lut(stored, dataset)[..., :3]
        bits = int(dataset.RedPaletteColorLookupTableDescriptor[2])
        full = 255 if bits == 8 and stored.max() <= 255 else np.iinfo(stored.dtype).max
    levels = torch.from_numpy(stored.astype(np.float64) / full).clamp(0, 1)
    return levels.movedim(-1, 0).contiguous()


def _greys(dataset: Dataset, stored: np.ndarray[Any, Any], headers: Sequence[Dataset]) -> tuple[Tensor, Tensor]:
    """The values after the modality LUT, and which are padding, both (1, F, H, W)."""
    wide = stored.astype(np.int64) if stored.dtype.kind in "iub" else stored.astype(np.float64)
    values = [apply_modality_lut(frame, header) for frame, header in zip(wide, headers, strict=True)]
    padding = torch.from_numpy(is_padding(dataset, wide))
    return torch.from_numpy(np.stack(values).astype(np.float64))[None], padding[None]


def _facts(dataset: FileDataset) -> dict[str, Any]:
    """The file's technical attributes for the provenance, without patient data."""
    modality = first(dataset.get("Modality"))
    return {
        "format": "DICOM",
        "modality": None if modality is None else str(modality),
        "sop_class": kind_of(dataset),
        "transfer_syntax": dataset.file_meta.TransferSyntaxUID.name,
        "bits": int(dataset.get("BitsStored") or dataset.get("BitsAllocated") or 8),
    }


_FORMATS, _ENDINGS = ("DICOM",), (".dcm", ".dicom")
READER = Reader(_FORMATS, _ENDINGS, accepts=lambda _, head: is_dicom(head), read=read_dicom)
BARE_READER = Reader(
    _FORMATS,
    _ENDINGS,
    accepts=lambda path, head: path.suffix.lower() in _ENDINGS and not is_raster(head),
    read=partial(read_dicom, bare=True),
)
"""Reads files without a preamble, which only their name shows to be DICOM."""
