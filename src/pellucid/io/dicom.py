"""Single DICOM images, read by pydicom; what cannot be shown is refused by name."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
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
from pellucid.io.dicom_frames import header_of, instances, placed, views
from pellucid.io.refusal import refused
from pellucid.io.window import NoWindowError, first, is_padding, shown_as


def is_dicom(head: bytes) -> bool:
    """Whether a file that begins with ``head`` says that it is DICOM."""
    return head[128:132] == b"DICM"


def says_dicom(path: Path) -> bool:
    """Whether a file says so; ``OSError`` where it cannot be read."""
    with path.open("rb") as file:
        return is_dicom(file.read(132))


@dataclass(frozen=True)
class Measured:
    """What an object holds, before it is decided how it is shown: its frames' ``values`` (C, F, H, W) float64.

    ``padding`` is where grey values are none, (1, F, H, W); None of colours. ``headers``: one a frame.
    """

    values: Tensor
    padding: Tensor | None
    headers: tuple[Dataset, ...]
    instances: tuple[Instance, ...]
    facts: Mapping[str, Any]

    def image(self, window: str | tuple[float, float] | None, volume: bool) -> Image:
        """The picture, or the ``volume`` of its frames, as it is to be shown."""
        if self.padding is not None:
            pixels, shown = shown_as(self.values, self.padding, self.headers, window)
        elif window is not None:
            raise NoWindowError(f"window {window!r} was asked for; the picture is in colour, which has none")
        else:
            pixels, shown = self.values, {"voi": None, "window": None}
        pixels = 1 - pixels if self.facts["inverted"] else pixels
        values, pixels = (one if volume else one[:, 0] for one in (self.values, pixels))
        geometry = Geometry.identity(tuple(pixels.shape[1:]))
        spacing, affine = placed(self.headers, volume)
        made = Image(pixels.float(), values.float(), geometry, {**self.facts, **shown}, None, spacing, affine)
        return replace(made, instances=self.instances)


def read_dicom(
    path: Path, window: str | tuple[float, float] | None = None, frame: int | None = None, bare: bool = False
) -> Image:
    """Read one DICOM image: grey (1, H, W) or colour (3, H, W); several frames are a volume (C, F, H, W).

    ``values`` is what the modality LUT or the rescale gives (Hounsfield units for CT), or the colours.
    ``pixels``, in [0, 1], come from the ``window``, else from the VOI LUT, else from the first stored window, else
    from the minimum and maximum of what is not padding; MONOCHROME1 is inverted. ``frame``, from 1, is the one to
    read. ``bare``: the file has no DICOM preamble.

    Raises:
        ImageError: the file is broken or too large, or holds no image; the message names what it is.
        OptionError: the window is none of any picture.
    """
    with explained(path):
        found = measured(path, frame, bare)
        return found.image(window, volume=len(found.headers) > 1)


def measured(path: Path, frame: int | None = None, bare: bool = False) -> Measured:
    """Read what a file holds; within ``explained``."""
    dataset = open_dicom(path, bare)
    frames, count = check(path, dataset, frame)
    stored = _stored(path, dataset, frames, count)
    headers = tuple(views(header_of(dataset), frames))
    photometric = str(dataset.get("PhotometricInterpretation") or "MONOCHROME2")
    facts = _facts(dataset) | {
        "photometric_interpretation": photometric,
        "inverted": photometric == "MONOCHROME1",
    }
    if stored.ndim == 4 or photometric == "PALETTE COLOR":
        values, padding = _colours(dataset, stored), None
    else:
        values, padding = _greys(dataset, stored, headers)
    return Measured(values, padding, headers, instances(headers, frames, count), facts)


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Say in one line what is wrong with a file."""
    try:
        yield
    except (ImageError, OptionError):
        raise
    except NoWindowError as error:
        raise refused(path, error) from None
    # Any attribute may hold anything, and what comes of it differs between versions of pydicom. The
    # error's own words are left out: they may quote what the file says about the patient.
    except Exception as error:
        raise refused(path, f"its description of the pixels is broken ({type(error).__name__})") from error


def _stored(path: Path, dataset: FileDataset, frames: range, count: int) -> np.ndarray[Any, Any]:
    """Decode the pixels as they are stored, (F, H, W) or (F, H, W, 3), YBR made RGB."""
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
    except BaseException as error:  # the decoders' errors have no common root; a panic in Rust is no Exception
        raise refused(path, f"its pixels ({syntax.name}) cannot be decoded: {error}") from error
    colours = () if int(dataset.get("SamplesPerPixel") or 1) == 1 else (3,)
    size = (int(dataset.Rows), int(dataset.Columns), *colours)
    if pixels.size == len(frames) * math.prod(size):
        return pixels.reshape(len(frames), *size)
    raise refused(path, f"its pixels have the shape {pixels.shape}; grey or three colours were expected")


def _colours(dataset: Dataset, stored: np.ndarray[Any, Any]) -> Tensor:
    """Return the colours as (3, F, H, W) in [0, 1]."""
    if stored.ndim == 4:
        full = 2 ** int(dataset.BitsStored) - 1
    else:
        stored = apply_color_lut(stored, dataset)[..., :3]
        bits = int(dataset.RedPaletteColorLookupTableDescriptor[2])
        full = 255 if bits == 8 and stored.max() <= 255 else np.iinfo(stored.dtype).max
    levels = torch.from_numpy(stored.astype(np.float64) / full).clamp(0, 1)
    return levels.movedim(-1, 0).contiguous()


def _greys(dataset: Dataset, stored: np.ndarray[Any, Any], headers: Sequence[Dataset]) -> tuple[Tensor, Tensor]:
    """Values, and where they are padding, (1, F, H, W)."""
    wide = stored.astype(np.int64) if stored.dtype.kind in "iub" else stored.astype(np.float64)
    values = [apply_modality_lut(frame, header) for frame, header in zip(wide, headers, strict=True)]
    padding = torch.from_numpy(is_padding(dataset, wide))
    return torch.from_numpy(np.stack(values).astype(np.float64))[None], padding[None]


def _facts(dataset: FileDataset) -> dict[str, Any]:
    """Gather what the file says of how it was made, and nothing of whom it shows."""
    modality = first(dataset.get("Modality"))
    return {
        "format": "DICOM",
        "modality": None if modality is None else str(modality),
        "sop_class": kind_of(dataset),
        "transfer_syntax": dataset.file_meta.TransferSyntaxUID.name,
        "bits": int(dataset.get("BitsStored") or dataset.get("BitsAllocated") or 8),
    }
