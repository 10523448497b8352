"""Single DICOM images, read by pydicom; what cannot be shown is refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydicom import Dataset, FileDataset
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut
from pydicom.pixels.utils import pixel_array
from torch import Tensor

from pellucid.core.geometry import Geometry
from pellucid.core.image import Image
from pellucid.errors import ImageError
from pellucid.io.dicom_codestream import check_codestreams
from pellucid.io.dicom_file import check, kind_of, open_dicom
from pellucid.io.refusal import refused
from pellucid.io.window import first, is_padding, stored_window, voi_table, whole_range


def is_dicom(head: bytes) -> bool:
    """Whether a file that begins with ``head`` says that it is DICOM."""
    return head[128:132] == b"DICM"


def read_dicom(path: Path, bare: bool = False) -> Image:
    """Read one DICOM image: grey (1, H, W) or colour (3, H, W).

    ``values`` is what the modality LUT or the rescale gives (Hounsfield units for CT), or the colours.
    ``pixels``, in [0, 1], come from the VOI LUT, else from the first stored window, else from the minimum and
    maximum of what is not padding; MONOCHROME1 is inverted. ``bare``: the file has no DICOM preamble.

    Raises:
        ImageError: the file is broken or too large, or holds no single image; the message names what it is.
    """
    dataset = open_dicom(path, bare)
    try:
        check(path, dataset)
        return _image(dataset, _stored(path, dataset))
    except ImageError:
        raise
    # Any attribute may hold anything, and what comes of it differs between versions of pydicom. The
    # error's own words are left out: they may quote what the file says about the patient.
    except Exception as error:
        raise refused(path, f"its description of the pixels is broken ({type(error).__name__})") from error


def _stored(path: Path, dataset: FileDataset) -> np.ndarray[Any, Any]:
    """Decode the pixels as they are stored, (H, W) or (H, W, 3), YBR made RGB."""
    syntax = dataset.file_meta.TransferSyntaxUID
    encapsulated = "PixelData" in dataset and dataset["PixelData"].is_undefined_length
    if encapsulated and not syntax.is_compressed:
        raise refused(path, f"its pixels are compressed, but its transfer syntax is {syntax.name}")
    try:
        check_codestreams(path, dataset)
        pixels = pixel_array(dataset)
    except ImageError:
        raise
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # the decoders' errors have no common root; a panic in Rust is no Exception
        raise refused(path, f"its pixels ({syntax.name}) cannot be decoded: {error}") from error
    if pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[-1] == 3):
        return pixels
    raise refused(path, f"its pixels have the shape {pixels.shape}; grey or three colours were expected")


def _image(dataset: FileDataset, stored: np.ndarray[Any, Any]) -> Image:
    """Make the picture, ready to show, with what was measured."""
    photometric = str(dataset.get("PhotometricInterpretation") or "MONOCHROME2")
    if stored.ndim == 3 or photometric == "PALETTE COLOR":
        values = pixels = _colours(dataset, stored)
        shown: dict[str, Any] = {"voi": None, "window": None}
    else:
        values, pixels, shown = _greys(dataset, stored)
    inverted = photometric == "MONOCHROME1"
    if inverted:
        pixels = 1 - pixels
    facts = _facts(dataset) | {"photometric_interpretation": photometric, "inverted": inverted} | shown
    return Image(pixels.float(), values.float(), Geometry.identity(tuple(pixels.shape[1:])), facts)


def _colours(dataset: Dataset, stored: np.ndarray[Any, Any]) -> Tensor:
    """Return the colours as (3, H, W) in [0, 1]."""
    if stored.ndim == 3:
        full = 2 ** int(dataset.BitsStored) - 1
    else:
        stored = apply_color_lut(stored, dataset)[..., :3]
        bits = int(dataset.RedPaletteColorLookupTableDescriptor[2])
        full = 255 if bits == 8 and stored.max() <= 255 else np.iinfo(stored.dtype).max
    levels = torch.from_numpy(stored.astype(np.float64) / full).clamp(0, 1)
    return levels.movedim(-1, 0).contiguous()


def _greys(dataset: Dataset, stored: np.ndarray[Any, Any]) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """Values and pixels, (1, H, W), and which window was used."""
    wide = stored.astype(np.int64) if stored.dtype.kind in "iub" else stored.astype(np.float64)
    values = torch.from_numpy(np.asarray(apply_modality_lut(wide, dataset), dtype=np.float64))[None]
    padding = torch.from_numpy(is_padding(dataset, wide))[None]
    shown: dict[str, Any] = {"voi": "range", "window": None, "padding_excluded": bool(padding.any())}
    if dataset.get("VOILUTSequence"):
        pixels = voi_table(values, dataset)
        shown["voi"] = "table"
    elif window := stored_window(dataset):
        pixels = window(values)
        shown |= {"voi": window.function, "window": [window.centre, window.width], "padding_excluded": False}
    else:
        pixels = whole_range(values, ~padding)
    return values, pixels.nan_to_num(0), shown


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
