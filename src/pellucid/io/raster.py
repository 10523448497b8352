"""Reads photographs and exported images (PNG, JPEG, TIFF and others) with Pillow."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import ExifTags, ImageOps, TiffImagePlugin, UnidentifiedImageError
from PIL import Image as Pillow

from pellucid.core.geometry import Geometry
from pellucid.core.image import Image
from pellucid.core.limits import MAX_PIXELS
from pellucid.errors import ImageError, PellucidWarning, message_of
from pellucid.io.reader import Reader, WindowLike
from pellucid.io.refusal import check_size, refused
from pellucid.io.selection import Select, no_such

_ENDINGS = {
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg"),
    "TIFF": (".tif", ".tiff"),
    "BMP": (".bmp",),
    "WEBP": (".webp",),
}
"""The formats by Pillow's names, with their file name endings."""
_TIFF = (b"II*\0", b"MM\0*", b"MM*\0", b"II\0*", b"II+\0", b"MM\0+")  # the last two are BigTIFF
_MAGIC = (b"\x89PNG", b"\xff\xd8\xff", *_TIFF, b"BM", b"RIFF")
_TWELVE_BIT_MAXIMUM = 4095
_MASK_LEVELS = (1, 255)
"""The level of a mask's finding, whatever the bits of its file."""

Array = npt.NDArray[np.float64]


def is_raster(head: bytes) -> bool:
    """Whether a file that begins with ``head`` is in one of the formats that Pillow reads."""
    return head.startswith(_MAGIC)


def read_raster(path: Path, window: WindowLike = None, frame: int | None = None, select: Select | None = None) -> Image:
    """Read an image: grey (1, H, W) or colour (3, H, W), float32 in [0, 1]; ``values`` is ``pixels``.

    8-bit levels are divided by 255, 16-bit ones by 65535 (TIFF's 12-bit ones by 4095). 32-bit integers, and floats
    outside [0, 1], are scaled from their minimum to their maximum. Transparent pixels are blended with black, and the
    EXIF orientation is applied. A PellucidWarning reports a 16-bit image that seems to hold 12 bits,
    unless it is a mask of 0 and 1 or 0 and 255.

    Raises:
        ImageError: the file is broken, too large, in another format, or holds more than one image; a window, or a
            frame after the first, was asked for.
    """
    if frame not in (None, 1):
        raise refused(path, f"frame {frame} was asked for; it holds one image")
    for name, value in (select or {}).items():
        raise no_such(path, name, value, ())
    if window is not None:
        raise refused(path, f"window {window!r} was asked for; the file holds no measured values, as DICOM or NIfTI do")
    try:
        array, provenance = _decode(path)
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise refused(path, f"it is broken, or not one of {', '.join(_ENDINGS)}") from error
    except Pillow.DecompressionBombError as error:
        raise refused(path, f"its header states more than {MAX_PIXELS:,} pixels: make it smaller") from error
    except MemoryError:
        raise
    except Exception as error:  # Pillow's decoders raise errors of every kind on hostile bytes
        raise refused(path, f"it is broken or cut short ({message_of(error)})") from error
    is_dark = provenance["bits"] == 16 and 0 < provenance["maximum"] <= _TWELVE_BIT_MAXIMUM
    if is_dark and not (provenance["maximum"] in _MASK_LEVELS and _has_two_levels(array)):
        _warn_of_twelve_bits(path, provenance["maximum"])
    pixels = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
    return Image(pixels, pixels, Geometry.identity(tuple(pixels.shape[1:])), provenance)


def _decode(path: Path) -> tuple[Array, dict[str, Any]]:
    """The image as (C, H, W) in [0, 1], and how it was decoded."""
    # An open file, not its path: Pillow memory-maps a TIFF given by path, and garbles one that is rotated by 90°.
    with path.open("rb") as file, Pillow.open(file, formats=tuple(_ENDINGS)) as opened:
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
        image: Pillow.Image = ImageOps.exif_transpose(opened)
    if _is_deep(image):
        array = _deep(path, image, provenance)
        array = 1 - array if provenance["inverted"] else array
        return array[None], provenance
    return _shallow(image, provenance["alpha_dropped"]), provenance


def _check_single(path: Path, image: Pillow.Image) -> None:
    """Refuse several pages and animations. The further images in a camera's JPEG (MPO) are only previews."""
    count = int(getattr(image, "n_frames", 1))
    if count > 1 and image.format != "MPO":
        noun = "pages" if image.format == "TIFF" else "frames"
        raise refused(path, f"it holds {count} {noun}; only one at a time can be read: save it as a file of its own")


def _is_deep(image: Pillow.Image) -> bool:
    """Whether an image is grey with more than 8 bits per pixel."""
    return image.mode.startswith(("I", "F"))


def _bits(image: Pillow.Image) -> int:
    """Bits per sample, as decoded."""
    if isinstance(image, TiffImagePlugin.TiffImageFile) and image.mode.startswith("I;16"):
        return int(image.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, (16,))[0])
    if image.mode == "1":
        return 1
    return 16 if image.mode.startswith("I;16") else 32 if image.mode in ("I", "F") else 8


def _is_white_zero(image: Pillow.Image) -> bool:
    """Whether a TIFF of more than 8 bits is WhiteIsZero. Pillow inverts only 8-bit ones itself."""
    if not _is_deep(image) or not isinstance(image, TiffImagePlugin.TiffImageFile):
        return False
    return bool(image.tag_v2.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0)


def _shallow(image: Pillow.Image, transparent: bool) -> Array:
    """An image of at most 8 bits per sample as (C, H, W) in [0, 1], blended with black where it is transparent."""
    grey = image.mode in ("1", "L", "LA", "La")
    mode = ("LA" if grey else "RGBA") if transparent else ("L" if grey else "RGB")
    if image.mode == "La" or (image.mode == "1" and transparent):
        image = image.convert("LA" if image.mode == "La" else "L")
    levels = np.asarray(image if image.mode == mode else image.convert(mode), dtype=np.float32) / 255
    if transparent:
        levels = levels[..., :-1] * levels[..., -1:]
    return levels[None] if levels.ndim == 2 else np.moveaxis(levels, -1, 0)


def _deep(path: Path, image: Pillow.Image, provenance: dict[str, Any]) -> Array:
    """A grey image of more than 8 bits as (H, W) in [0, 1]."""
    levels = np.asarray(image).astype(np.float64)
    if not np.isfinite(levels).all():
        raise refused(path, "it holds values that are not finite: replace them first")
    low, high = float(levels.min()), float(levels.max())
    provenance["maximum"] = high
    if image.mode.startswith("I;16"):
        return levels / ((1 << int(provenance["bits"])) - 1)
    if image.mode == "F" and low >= 0 and high <= 1:
        return levels
    provenance["stretched"] = [low, high]
    return (levels - low) / (high - low) if high > low else np.zeros_like(levels)


def _has_two_levels(array: Array) -> bool:
    """Whether an image has two levels, of which one is 0."""
    return bool(((array == 0) | (array == array.max())).all())


def _warn_of_twelve_bits(path: Path, maximum: float) -> None:
    """Warn of a 16-bit image that will look dark."""
    finding = f"{path} has 16 bits but no value above {maximum:.0f}: it probably holds 12 bits and will look"
    warnings.warn(f"{finding} dark; multiply its values by 16 and save it again", PellucidWarning, stacklevel=2)


READER = Reader(
    formats=tuple(_ENDINGS),
    endings=tuple(ending for endings in _ENDINGS.values() for ending in endings),
    accepts=lambda _, head: is_raster(head),
    read=read_raster,
)
