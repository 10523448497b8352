"""Which bits, bytes and tables of a DICOM file are its values: against exact ones, in every transfer syntax."""

from __future__ import annotations

import warnings
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
import torch
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels import pixel_array
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from pellucid.io import read_image
from tests.io.test_dicom import RAMP, dataset, write

SIGNED = (RAMP.astype(np.int16) - 2048).astype(np.int16)
NATIVE = [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian]
COMPRESSED = [RLELossless, JPEGLSLossless, JPEG2000Lossless]
LOSSLESS_JPEG = {JPEGLosslessSV1: 1, JPEGLossless: 6}
"""The predictor (selection value) that encodes for each transfer syntax."""


def saved(folder: Path, made: Dataset, syntax: str) -> Path:
    """The dataset, whose bytes are in little endian, in any native transfer syntax, or compressed."""
    if syntax in LOSSLESS_JPEG:
        return as_lossless_jpeg(folder, made, syntax, made.BitsAllocated)
    if syntax in COMPRESSED:
        bits, high = made.BitsStored, made.HighBit
        made.BitsStored, made.HighBit = made.BitsAllocated, made.BitsAllocated - 1  # all bits go into the codestream
        path = write(folder, made)
        source = pydicom.dcmread(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            source.compress(syntax)
        source.BitsStored, source.HighBit = bits, high
        source.save_as(path)
        return path
    if syntax == ExplicitVRBigEndian:
        swap_words(made)
    return write(folder, made, syntax=syntax)


def as_lossless_jpeg(folder: Path, made: Dataset, syntax: str, precision: int) -> Path:
    """The dataset with the lowest ``precision`` bits of its words in a codestream of as many bits."""
    words = np.frombuffer(made.PixelData, f"<u{made.BitsAllocated // 8}").reshape(made.Rows, made.Columns)
    words = (words & ((1 << precision) - 1)).astype("u1" if precision <= 8 else "u2")
    predictor = LOSSLESS_JPEG[pydicom.uid.UID(syntax)]
    frame = imagecodecs.jpeg8_encode(
        words,
        colorspace="GRAYSCALE",
        outcolorspace="GRAYSCALE",
        bitspersample=precision,
        lossless=True,
        predictor=predictor,
    )
    scan = frame.index(b"\xff\xda")
    assert frame[scan + 7] == predictor
    assert frame[frame.index(b"\xff\xc3") + 4] == precision
    made.PixelData = encapsulate([frame])
    made["PixelData"].is_undefined_length = True
    return write(folder, made, syntax=syntax)


def swap_words(made: Dataset) -> None:
    """Turn the bytes of words into the other order, also in sequences."""
    for element in made.iterall():
        if element.VR == "OW" or element.keyword == "PixelData":
            element.VR = "OW"
            element.value = np.frombuffer(element.value, "<u2").byteswap().tobytes()


@pytest.mark.parametrize("syntax", [*NATIVE, *COMPRESSED, *LOSSLESS_JPEG], ids=lambda uid: pydicom.uid.UID(uid).name)
def test_an_overlay_in_unused_bits_is_no_value(tmp_path: Path, syntax: str) -> None:
    overlay = (np.indices(RAMP.shape).sum(0) % 3 == 0).astype(np.uint16) << 12
    made = dataset(RAMP | overlay | (overlay << 3), BitsStored=12, HighBit=11)
    path = saved(tmp_path, made, syntax)
    if syntax not in LOSSLESS_JPEG:  # which pydicom itself does not decode
        assert pixel_array(pydicom.dcmread(path), correct_unused_bits=False).max() > 4095
    assert torch.equal(read_image(path).values[0], torch.from_numpy(RAMP.astype(np.float32)))


@pytest.mark.parametrize("syntax", [*NATIVE, *COMPRESSED, *LOSSLESS_JPEG], ids=lambda uid: pydicom.uid.UID(uid).name)
def test_signed_values_keep_their_sign_whatever_is_above(tmp_path: Path, syntax: str) -> None:
    stored = (SIGNED.view(np.uint16) & 0x0FFF) | 0x5000
    path = saved(tmp_path, dataset(stored.view(np.int16), BitsStored=12, HighBit=11), syntax)
    assert torch.equal(read_image(path).values[0], torch.from_numpy(SIGNED.astype(np.float32)))


@pytest.mark.parametrize("syntax", [*NATIVE, *COMPRESSED, *LOSSLESS_JPEG], ids=lambda uid: pydicom.uid.UID(uid).name)
@pytest.mark.parametrize("signed", [False, True])
def test_values_at_the_left_of_their_words(tmp_path: Path, syntax: str, signed: bool) -> None:
    values = SIGNED if signed else RAMP
    path = saved(tmp_path, dataset((values << 4) | 0x5, BitsStored=12, HighBit=15), syntax)
    assert torch.equal(read_image(path).values[0], torch.from_numpy(values.astype(np.float32)))


@pytest.mark.parametrize("syntax", COMPRESSED, ids=lambda uid: pydicom.uid.UID(uid).name)
def test_a_codestream_of_the_stored_bits_alone_is_not_shifted(tmp_path: Path, syntax: str) -> None:
    path = write(tmp_path, dataset(RAMP, BitsStored=12, HighBit=11))
    source = pydicom.dcmread(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source.compress(syntax)
    if syntax != RLELossless:  # RLE holds whole words
        source.HighBit = 15
    source.save_as(path)
    assert torch.equal(read_image(path).values[0], torch.from_numpy(RAMP.astype(np.float32)))


@pytest.mark.parametrize("syntax", LOSSLESS_JPEG, ids=lambda uid: pydicom.uid.UID(uid).name)
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize(
    ("allocated", "precision", "stored", "shift"),
    [
        (8, 8, 6, 0),
        (8, 8, 6, 2),
        (8, 8, 8, 0),
        (16, 12, 10, 0),
        (16, 12, 10, 2),
        (16, 12, 12, 0),
        (16, 16, 12, 0),
        (16, 16, 12, 4),
        (16, 16, 9, 3),
        (16, 16, 16, 0),
        (16, 8, 6, 0),
        (16, 8, 8, 0),
    ],
)
def test_lossless_jpeg_with_bits_that_are_no_value(
    tmp_path: Path, syntax: str, signed: bool, allocated: int, precision: int, stored: int, shift: int
) -> None:
    """Noise in all bits of the words: the values are the stored bits, whatever is above and below them."""
    words = np.random.default_rng(stored).integers(0, 1 << precision, (23, 37)).astype(f"u{allocated // 8}")
    expected = (words.astype(np.int64) >> shift) % (1 << stored)
    if signed:
        expected = np.where(expected >= 1 << (stored - 1), expected - (1 << stored), expected)
    made = dataset(words.view(f"i{allocated // 8}") if signed else words)
    made.BitsStored, made.HighBit = stored, shift + stored - 1
    image = read_image(as_lossless_jpeg(tmp_path, made, syntax, precision))
    assert np.array_equal(image.values[0].numpy(), expected.astype(np.float32))


@pytest.mark.parametrize("syntax", LOSSLESS_JPEG, ids=lambda uid: pydicom.uid.UID(uid).name)
@pytest.mark.parametrize("signed", [False, True])
def test_lossless_jpeg_of_the_stored_bits_alone_is_not_shifted(tmp_path: Path, syntax: str, signed: bool) -> None:
    values = SIGNED if signed else RAMP
    made = dataset(values, BitsStored=12, HighBit=15)
    assert torch.equal(
        read_image(as_lossless_jpeg(tmp_path, made, syntax, 12)).values[0], torch.from_numpy(values.astype(np.float32))
    )


def test_padding_outside_the_stored_bits_is_padding(tmp_path: Path) -> None:
    stored = RAMP.copy()
    stored[:4] = 63536  # -2000
    image = read_image(write(tmp_path, dataset(stored, BitsStored=12, HighBit=11, PixelPaddingValue=63536)))
    assert image.provenance["padding_excluded"]
    assert float(image.values[0, 0, 0]) == 63536
    assert float(image.pixels[0, 4, 0]) == 0
    assert float(image.pixels[0, -1, -1]) == 1


def test_padding_below_an_overlay_is_padding(tmp_path: Path) -> None:
    stored = RAMP + np.uint16(0)
    stored[0] = 0x8000
    stored[1:] = stored[1:].clip(100)
    image = read_image(write(tmp_path, dataset(stored, BitsStored=12, HighBit=11, PixelPaddingValue=0)))
    assert float(image.values[0, 0, 0]) == 0
    assert float(image.pixels[0, 1, 0]) == 0  # the smallest value that is no padding


def table(entries: np.ndarray, start: int, bits: int, vr: str) -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", vr, [len(entries), start, bits])
    item.add_new("LUTData", "OW", entries.tobytes())
    return item


RISING = np.linspace(0, 65535, 4096).round().astype(np.uint16)
WRITTEN = [(-1024, "SS"), (64512, "US")]


@pytest.mark.parametrize("syntax", NATIVE, ids=lambda uid: pydicom.uid.UID(uid).name)
@pytest.mark.parametrize(("start", "vr"), WRITTEN)
@pytest.mark.parametrize("signed", [False, True])
def test_a_voi_table_with_a_negative_first_value(
    tmp_path: Path, syntax: str, start: int, vr: str, signed: bool
) -> None:
    """Hounsfield units from −1024 on, by a rescale or as stored: a full ramp."""
    values = (RAMP.astype(np.int16) - 1024) if signed else RAMP
    made = dataset(values, RescaleSlope=1, RescaleIntercept=0 if signed else -1024)
    made.VOILUTSequence = [table(RISING, start, 16, vr)]
    image = read_image(saved(tmp_path, made, syntax))
    assert torch.equal(image.pixels[0], torch.from_numpy((RISING / 65535).reshape(64, 64).astype(np.float32)))


@pytest.mark.parametrize("syntax", NATIVE, ids=lambda uid: pydicom.uid.UID(uid).name)
@pytest.mark.parametrize(("start", "vr"), WRITTEN)
def test_a_modality_table_with_a_negative_first_value(tmp_path: Path, syntax: str, start: int, vr: str) -> None:
    made = dataset(RAMP.astype(np.int16) - 1024)
    made.ModalityLUTSequence = [table(RISING, start, 16, vr)]
    made.ModalityLUTSequence[0].ModalityLUTType = "US"
    image = read_image(saved(tmp_path, made, syntax))
    assert torch.equal(image.values[0], torch.from_numpy(RISING.reshape(64, 64).astype(np.float32)))


def test_a_large_first_value_of_unsigned_values_stays(tmp_path: Path) -> None:
    made = dataset(RAMP + np.uint16(60000), VOILUTSequence=[table(RISING, 60000, 16, "US")])
    assert torch.equal(
        read_image(write(tmp_path, made)).pixels[0], torch.from_numpy(RISING / 65535).reshape(64, 64).float()
    )


@pytest.mark.parametrize("syntax", NATIVE, ids=lambda uid: pydicom.uid.UID(uid).name)
@pytest.mark.parametrize("name", ["ModalityLUTSequence", "VOILUTSequence"])
def test_tables_of_bytes_in_pairs(tmp_path: Path, syntax: str, name: str) -> None:
    entries = np.arange(256, dtype=np.uint8)[::-1].copy()
    made = dataset(np.arange(256, dtype=np.uint16).reshape(16, 16))
    setattr(made, name, [table(entries, 0, 8, "US")])
    if name == "ModalityLUTSequence":
        made.ModalityLUTSequence[0].ModalityLUTType = "US"
    image = read_image(saved(tmp_path, made, syntax))
    found = image.values[0] if name == "ModalityLUTSequence" else image.pixels[0] * 255
    assert torch.equal(found.round(), torch.from_numpy(entries.reshape(16, 16).astype(np.float32)))


def palette(entries: list[np.ndarray], start: int, bits: int, vr: str, **attributes: object) -> Dataset:
    made = dataset(np.arange(256, dtype=np.uint8).reshape(16, 16), PhotometricInterpretation="PALETTE COLOR")
    for name, value in attributes.items():
        setattr(made, name, value)
    for colour, each in zip(("Red", "Green", "Blue"), entries, strict=True):
        made.add_new(f"{colour}PaletteColorLookupTableDescriptor", vr, [len(each), start, bits])
        made.add_new(f"{colour}PaletteColorLookupTableData", "OW", each.tobytes())
    return made


COLOURS = [np.random.default_rng(seed).integers(0, 65536, 256, dtype=np.uint16) for seed in range(3)]


@pytest.mark.parametrize("syntax", NATIVE, ids=lambda uid: pydicom.uid.UID(uid).name)
@pytest.mark.parametrize("bits", [8, 16])
def test_palettes_of_either_byte_order(tmp_path: Path, syntax: str, bits: int) -> None:
    entries = COLOURS if bits == 16 else [(each >> 8).astype(np.uint8) for each in COLOURS]
    image = read_image(saved(tmp_path, palette(entries, 0, bits, "US"), syntax))
    expected = np.stack(entries).reshape(3, 16, 16) / (2**bits - 1)
    assert torch.allclose(image.pixels, torch.from_numpy(expected).float(), atol=1e-7)


@pytest.mark.parametrize(("start", "vr"), [(-128, "SS"), (65408, "US")])
def test_a_palette_of_signed_pixels(tmp_path: Path, start: int, vr: str) -> None:
    pixels = (np.arange(256, dtype=np.int16) - 128).astype(np.int8)
    made = palette(COLOURS, start, 16, vr, PixelRepresentation=1, PixelData=pixels.tobytes())
    expected = np.stack(COLOURS).reshape(3, 16, 16) / 65535
    assert torch.allclose(read_image(write(tmp_path, made)).pixels, torch.from_numpy(expected).float(), atol=1e-7)
