"""Photographs and exported pictures: PNG, JPEG, TIFF, BMP and WebP, read by Pillow."""

from __future__ import annotations

import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import ExifTags, ImageOps, TiffImagePlugin, UnidentifiedImageError
from PIL import Image as Pillow

from pellucid.core.geometry import Geometry
from pellucid.core.image import Image
from pellucid.errors import ImageError, PellucidWarning
from pellucid.io.refusal import MAX_PIXELS, check_size, refused

FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP")

_MAGIC = (b"\x89PNG", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"BM", b"RIFF")
# What Pillow's decoders let through on hostile bytes, besides their own OSError.
_BROKEN = (
    OSError,
    ValueError,
    SyntaxError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    EOFError,
)
_BROKEN_TOO = (RuntimeError, MemoryError, struct.error, zlib.error)
_TWELVE_BITS = 4095

Array = npt.NDArray[np.float64]


def is_raster(head: bytes) -> bool:
    """Whether a file that begins with ``head`` is one for Pillow."""
    return head.startswith(_MAGIC)


def read_raster(path: Path) -> Image:
    """Read a picture: grey (1, H, W) or colour (3, H, W), float32 in [0, 1]; ``values`` is ``pixels``.

    8-bit levels are divided by 255, 16-bit ones by 65535 (TIFF's 12-bit ones by 4095). Whole numbers of
    32 bits, and floats that leave [0, 1], are stretched from their minimum to their maximum. Transparency is
    laid on black, and the EXIF orientation is applied. A PellucidWarning tells of a 16-bit picture that seems
    to hold 12 bits.

    Raises:
        ImageError: the file is broken, too large, of another kind, or holds more than one picture.
    """
    try:
        array, provenance = _decode(path)
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        kinds = ", ".join(FORMATS)
        raise refused(path, f"it is broken, or not of a kind that is read ({kinds}, DICOM)") from error
    except Pillow.DecompressionBombError as error:
        raise refused(path, f"it says that it has more than {MAX_PIXELS:,} pixels: make it smaller") from error
    except (*_BROKEN, *_BROKEN_TOO) as error:
        raise refused(path, f"it is broken or cut short ({error or type(error).__name__})") from error
    if provenance["bits"] == 16 and 0 < provenance["maximum"] <= _TWELVE_BITS:
        _warn_of_twelve_bits(path, provenance["maximum"])
    pixels = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
    return Image(pixels, pixels, Geometry.identity(tuple(pixels.shape[1:])), provenance)


def _decode(path: Path) -> tuple[Array, dict[str, Any]]:
    """Return the picture as (C, H, W) in [0, 1], and what was done to get there."""
    # A file, not its name: Pillow maps a named TIFF into memory, and scrambles one that is turned by 90°.
    with path.open("rb") as file, Pillow.open(file, formats=FORMATS) as opened:
        check_size(path, opened.height, opened.width)
        _check_single(path, opened)
        provenance: dict[str, Any] = {
            "format": "JPEG" if opened.format == "MPO" else opened.format,
            "mode": opened.mode,
            "bits": _bits(opened),
            "orientation_applied": opened.getexif().get(ExifTags.Base.Orientation, 1) in range(2, 9),
            "alpha_dropped": opened.has_transparency_data and not _is_deep(opened),
            "inverted": _is_white_zero(opened),
            "stretched": None,
            "maximum": None,
        }
        picture: Pillow.Image = ImageOps.exif_transpose(opened)
    if _is_deep(picture):
        array = _deep(path, picture, provenance)
        array = 1 - array if provenance["inverted"] else array
        return array[None], provenance
    return _shallow(picture, provenance["alpha_dropped"]), provenance


def _check_single(path: Path, picture: Pillow.Image) -> None:
    """Refuse pages and animations; what a camera hides behind its JPEG (MPO) is only previews."""
    count = int(getattr(picture, "n_frames", 1))
    if count > 1 and picture.format != "MPO":
        noun = "pages" if picture.format == "TIFF" else "frames"
        raise refused(path, f"it holds {count} {noun}; only one at a time can be read: save it as a file of its own")


def _is_deep(picture: Pillow.Image) -> bool:
    """Whether a picture is grey with more than 8 bits a pixel."""
    return picture.mode.startswith(("I", "F"))


def _bits(picture: Pillow.Image) -> int:
    """Bits of one sample, as decoded."""
    if isinstance(picture, TiffImagePlugin.TiffImageFile) and picture.mode.startswith("I;16"):
        return int(picture.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, (16,))[0])
    if picture.mode == "1":
        return 1
    return 16 if picture.mode.startswith("I;16") else 32 if picture.mode in ("I", "F") else 8


def _is_white_zero(picture: Pillow.Image) -> bool:
    """Whether a deep TIFF counts from white to black; Pillow turns only the 8-bit ones round by itself."""
    if not _is_deep(picture) or not isinstance(picture, TiffImagePlugin.TiffImageFile):
        return False
    return bool(picture.tag_v2.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0)


def _shallow(picture: Pillow.Image, transparent: bool) -> Array:
    """Return a picture of at most 8 bits a sample as (C, H, W) in [0, 1], laid on black where transparent."""
    grey = picture.mode in ("1", "L", "LA", "La")
    mode = ("LA" if grey else "RGBA") if transparent else ("L" if grey else "RGB")
    if picture.mode == "La" or (picture.mode == "1" and transparent):
        picture = picture.convert("LA" if picture.mode == "La" else "L")
    levels = np.asarray(picture if picture.mode == mode else picture.convert(mode), dtype=np.float32) / 255
    if transparent:
        levels = levels[..., :-1] * levels[..., -1:]
    return levels[None] if levels.ndim == 2 else np.moveaxis(levels, -1, 0)


def _deep(path: Path, picture: Pillow.Image, provenance: dict[str, Any]) -> Array:
    """Return a grey picture of more than 8 bits as (H, W) in [0, 1]."""
    levels = np.asarray(picture).astype(np.float64)
    if not np.isfinite(levels).all():
        raise refused(path, "it holds values that are not finite: replace them first")
    low, high = float(levels.min()), float(levels.max())
    provenance["maximum"] = high
    if picture.mode.startswith("I;16"):
        return levels / ((1 << int(provenance["bits"])) - 1)
    if picture.mode == "F" and low >= 0 and high <= 1:
        return levels
    provenance["stretched"] = [low, high]
    return (levels - low) / (high - low) if high > low else np.zeros_like(levels)


def _warn_of_twelve_bits(path: Path, maximum: float) -> None:
    """Say that a 16-bit picture will look dark."""
    seen = f"{path} has 16 bits but no value above {maximum:.0f}: it probably holds 12 bits and will look"
    warnings.warn(f"{seen} dark; multiply its values by 16 and save it again", PellucidWarning, stacklevel=2)
