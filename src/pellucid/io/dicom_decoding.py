"""Decodes the pixels of DICOM files with pydicom, and adds JPEG of 12 bits and lossless JPEG by libjpeg-turbo.

Of pydicom's own plugins for those, GDCM does not read 12 bits, and libjpeg is under the GPL.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import imagecodecs
import numpy as np
from pydicom import Dataset
from pydicom.pixels.decoders.base import Decoder, DecodeRunner, get_decoder
from pydicom.pixels.utils import as_pixel_options
from pydicom.pixels.utils import iter_pixels as pydicom_iter_pixels
from pydicom.uid import UID, AllTransferSyntaxes, JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1

_PILLOW = ("pydicom.pixels.decoders.pillow", "_decode_frame")
DECODER_DEPENDENCIES = dict.fromkeys(
    (JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1), ("imagecodecs",)
)
"""The transfer syntaxes that are added; the name, ``is_available`` and ``_decode_frame`` are pydicom's for a plugin."""


def iter_pixels(dataset: Dataset, indices: Sequence[int] | None = None) -> Iterator[np.ndarray[Any, Any]]:
    """As pydicom's function of that name: the frames of a file, or those with some indices from 0, YBR as RGB.

    Bits that are not used stay as they are.
    """
    syntax = dataset.file_meta.TransferSyntaxUID
    # pydicom leaves out unused bits above the value only, and not in every transfer syntax.
    if syntax not in DECODER_DEPENDENCIES:
        return pydicom_iter_pixels(dataset, indices=indices, correct_unused_bits=False)
    options = as_pixel_options(dataset, correct_unused_bits=False)
    return (frame for frame, _ in _decoder(syntax).iter_array(dataset, indices=indices, **options))


@cache
def _decoder(syntax: UID) -> Decoder:
    """A decoder of our own: a plugin that is added to pydicom's would work for the whole process."""
    decoder = Decoder(syntax)
    if syntax in (JPEGBaseline8Bit, JPEGExtended12Bit):
        decoder.add_plugin("pillow", _PILLOW)  # the first that succeeds counts
    decoder.add_plugin("imagecodecs", (__name__, "_decode_frame"))
    return decoder


def is_available(syntax: str) -> bool:
    """Whether the plugin decodes a transfer syntax."""
    return syntax in DECODER_DEPENDENCIES


def _decode_frame(frame: bytes, runner: DecodeRunner) -> bytes:
    """The samples of a frame, without a colour transform; pydicom applies the one that the file's attributes state."""
    # The same space in and out: libjpeg would guess a space from the markers and convert.
    space = "GRAYSCALE" if runner.samples_per_pixel == 1 else "RGB"
    samples = imagecodecs.jpeg8_decode(frame, colorspace=space, outcolorspace=space)
    runner.set_option("bits_allocated", 8 * samples.itemsize)
    runner.set_option("planar_configuration", 0)
    return samples.tobytes()


def decoded_syntaxes() -> dict[str, bool]:
    """The names of the transfer syntaxes that pydicom knows of images, and whether each can be decoded here."""
    known = {syntax: get_decoder(syntax) for syntax in AllTransferSyntaxes if _has_decoder(syntax)}
    return {syntax.name: syntax in DECODER_DEPENDENCIES or known[syntax].is_available for syntax in known}


def _has_decoder(syntax: UID) -> bool:
    try:
        get_decoder(syntax)
    except NotImplementedError:
        return False
    return True
