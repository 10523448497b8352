"""Compressed pixels: JPEG of 12 bits and lossless JPEG, which pydicom decodes only with packages under the GPL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder
from pydicom.uid import UID, JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1

from pellucid.errors import ImageError
from pellucid.io import read_image
from tests.io.test_dicom import dataset, shipped, write


def levels(bits: int, colours: int = 0, signed: bool = False) -> np.ndarray:
    """Noise over the whole range of values, in the smallest type that holds them."""
    shape = (23, 37, colours) if colours else (23, 37)
    low = -(2 ** (bits - 1)) if signed else 0
    kind = np.dtype(f"{'i' if signed else 'u'}{1 if bits <= 8 else 2}")
    return np.random.default_rng(bits).integers(low, low + 2**bits, shape).astype(kind)


def encoded(folder: Path, array: np.ndarray, syntax: UID, bits: int, **options: Any) -> Path:
    made = dataset(array, SamplesPerPixel=array.shape[2] if array.ndim == 3 else 1, BitsStored=bits, HighBit=bits - 1)
    if array.ndim == 3:
        made.PhotometricInterpretation, made.PlanarConfiguration = "RGB", 0
    unsigned = array.view(f"u{array.itemsize}")
    space = "RGB" if array.ndim == 3 else "GRAYSCALE"
    frame = imagecodecs.jpeg8_encode(unsigned, colorspace=space, outcolorspace=space, bitspersample=bits, **options)
    made.PixelData = encapsulate([frame])
    made["PixelData"].is_undefined_length = True
    return write(folder, made, syntax=syntax)


@pytest.mark.parametrize("predictor", range(1, 8))
@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_lossless_jpeg_gives_the_values_that_were_encoded(tmp_path: Path, bits: int, predictor: int) -> None:
    array = levels(bits)
    syntax = JPEGLosslessSV1 if predictor == 1 else JPEGLossless
    values = read_image(encoded(tmp_path, array, syntax, bits, lossless=True, predictor=predictor)).values
    assert np.array_equal(values[0].numpy(), array.astype(np.float32))


def test_lossless_jpeg_of_signed_values(tmp_path: Path) -> None:
    array = levels(16, signed=True)
    values = read_image(encoded(tmp_path, array, JPEGLosslessSV1, 16, lossless=True, predictor=1)).values
    assert array.min() < 0
    assert np.array_equal(values[0].numpy(), array.astype(np.float32))


@pytest.mark.parametrize("marker", ["RGB", "YCbCr", "none"])
def test_colours_of_lossless_jpeg_are_not_converted(tmp_path: Path, marker: str) -> None:
    """The file's attributes say which colours these are, not the marker in the stream."""
    array = levels(8, colours=3)
    path = encoded(tmp_path, array, JPEGLossless, 8, lossless=True, predictor=4)
    if marker != "RGB":
        adobe = bytes.fromhex("ffee000e41646f626500640000000000")
        comment = b"\xff\xfe\0\x0e" + bytes(12)  # keeps the length of the element
        content = path.read_bytes()
        assert content.count(adobe) == 1
        path.write_bytes(content.replace(adobe, adobe[:-1] + b"\1" if marker == "YCbCr" else comment))
    values = read_image(path).values
    assert np.array_equal((values * 255).round().numpy(), np.moveaxis(array, -1, 0).astype(np.float32))


def test_twelve_bits(tmp_path: Path) -> None:
    rows, columns = np.mgrid[:64, :80]
    array = (2000 + 1500 * np.sin(rows / 9) * np.cos(columns / 11)).astype(np.uint16)
    values = read_image(encoded(tmp_path, array, JPEGExtended12Bit, 12, level=100)).values
    assert np.abs(values[0].numpy() - array).max() <= 2
    assert array.max() > 255


def test_the_same_image_of_two_encoders() -> None:
    """GDCM and libjpeg refuse the first, whose samples are stated to be of another number of bits."""
    one, other = (read_image(shipped(name)).values[0] for name in ("JPEG-lossy.dcm", "JPGExtended.dcm"))
    assert bool((one == other).all())
    assert (float(other[420, 140]), float(other[230, 120])) == (244, 95)  # as pydicom's own tests state


def test_baseline_that_holds_lossless_jpeg(tmp_path: Path) -> None:
    array = levels(8)
    values = read_image(encoded(tmp_path, array, JPEGBaseline8Bit, 8, lossless=True, predictor=1)).values
    assert np.array_equal(values[0].numpy(), array.astype(np.float32))


def cut(path: Path, share: float) -> bytes:
    """A file whose JPEG stream ends before its end, in an element of the same length."""
    content = path.read_bytes()
    start, end = content.index(b"\xff\xda"), content.rindex(b"\xff\xd9")
    kept = start + int((end - start) * share)
    return content[:kept] + bytes(end + 2 - kept) + content[end + 2 :]


@pytest.mark.parametrize("syntax", [JPEGLossless, JPEGExtended12Bit, JPEGBaseline8Bit])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_stream_that_is_cut_short_is_refused(tmp_path: Path, syntax: UID, share: float) -> None:
    bits = 8 if syntax == JPEGBaseline8Bit else 12
    kind: dict[str, Any] = {"lossless": True, "predictor": 2} if syntax == JPEGLossless else {"level": 90}
    path = encoded(tmp_path, levels(bits), syntax, bits, **kind)
    assert read_image(path).values.isfinite().all()
    path.write_bytes(cut(path, share))
    with pytest.raises(ImageError, match="are cut short") as caught:
        read_image(path)
    assert "\n" not in str(caught.value)


def test_the_decoders_of_the_process_are_not_changed(tmp_path: Path) -> None:
    plugins = get_decoder(JPEGLossless).available_plugins
    read_image(encoded(tmp_path, levels(12), JPEGLossless, 12, lossless=True, predictor=1))
    assert get_decoder(JPEGLossless).available_plugins == plugins
