"""DICOM files: values, windows, polarity, and one-line refusals."""

from __future__ import annotations

import json
import os
import warnings
import zlib
from pathlib import Path

import numpy as np
import pydicom
import pydicom.data
import pydicom.encaps
import pytest
import torch
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels.processing import apply_windowing
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    generate_uid,
)

from pellucid.errors import ImageError
from pellucid.io import read_image
from pellucid.io.window import Window

FOLDERS = [Path(folder) for folder in pydicom.data.__path__]
SHIPPED = sorted({path for folder in FOLDERS for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"})
RAMP = np.arange(4096, dtype=np.uint16).reshape(64, 64)


def shipped(name: str) -> Path:
    path = pydicom.data.get_testdata_file(name, download=False)
    if path is None:
        pytest.skip(f"this pydicom does not ship {name}")
    return Path(str(path))


def dataset(array: np.ndarray, **attributes: object) -> Dataset:
    made = Dataset()
    made.SOPClassUID, made.SOPInstanceUID = CTImageStorage, generate_uid()
    made.PatientName, made.PatientID, made.PatientBirthDate = "Doe^Jane", "4711", "19500101"
    made.Modality = "CT"
    made.Rows, made.Columns = array.shape[:2]
    made.SamplesPerPixel = 1 if array.ndim == 2 else 3
    made.PhotometricInterpretation = "MONOCHROME2" if array.ndim == 2 else "RGB"
    if array.ndim == 3:
        made.PlanarConfiguration = 0
    made.BitsAllocated = made.BitsStored = array.dtype.itemsize * 8
    made.HighBit = made.BitsStored - 1
    made.PixelRepresentation = int(array.dtype.kind == "i")
    made.PixelData = array.tobytes()
    for name, value in attributes.items():
        setattr(made, name, value)
    return made


def write(folder: Path, made: Dataset, name: str = "a.dcm", syntax: str = ExplicitVRLittleEndian) -> Path:
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = syntax
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made.save_as(folder / name, enforce_file_format=True)
    return folder / name


def refusal(path: Path) -> str:
    with pytest.raises(ImageError) as caught:
        read_image(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    assert len(message) < len(str(path)) + 300
    return message


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_every_shipped_file_is_read_or_refused(path: Path) -> None:
    try:
        image = read_image(path)
    except ImageError:
        refusal(path)
        return
    assert image.pixels.isfinite().all()
    assert image.pixels.min() >= 0
    assert image.pixels.max() <= 1
    assert image.pixels.shape == image.values.shape
    assert image.pixels.shape[0] in (1, 3)
    assert json.loads(json.dumps(image.provenance)) == image.provenance


def test_rescale_gives_the_values() -> None:
    image = read_image(shipped("CT_small.dcm"))
    source = pydicom.dcmread(shipped("CT_small.dcm"))
    expected = source.pixel_array * float(source.RescaleSlope) + float(source.RescaleIntercept)
    assert torch.equal(image.values[0], torch.from_numpy(expected).float())
    assert image.provenance["modality"] == "CT"
    assert image.provenance["sop_class"] == "CT Image Storage"
    assert image.provenance["transfer_syntax"] == "Explicit VR Little Endian"


def test_the_stored_window_is_used() -> None:
    image = read_image(shipped("MR_small.dcm"))
    source = pydicom.dcmread(shipped("MR_small.dcm"))
    centre, width = float(source.WindowCenter), float(source.WindowWidth)
    assert image.provenance["window"] == [centre, width]
    expected = ((source.pixel_array - (centre - 0.5)) / (width - 1) + 0.5).clip(0, 1)
    assert torch.allclose(image.pixels[0], torch.from_numpy(expected).float())


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize(("centre", "width"), [(2048, 1000), (100, 2), (300.5, 1)])
def test_windows_agree_with_pydicom(function: str, centre: float, width: float) -> None:
    made = dataset(RAMP, WindowCenter=centre, WindowWidth=width, VOILUTFunction=function)
    with np.errstate(over="ignore"):
        expected = apply_windowing(RAMP.astype(np.float64), made) / (2**16 - 1)
    ours = Window(centre, width, function)(torch.from_numpy(RAMP.astype(np.float64)))
    assert torch.allclose(ours, torch.from_numpy(expected), atol=1e-6)


def test_the_first_of_several_windows_counts(tmp_path: Path) -> None:
    made = dataset(RAMP, WindowCenter=[1000, 5], WindowWidth=[100, 7])
    assert read_image(write(tmp_path, made)).provenance["window"] == [1000, 100]


@pytest.mark.parametrize("width", [0, -5, 0.5])
def test_a_stored_window_that_the_standard_forbids_is_ignored(tmp_path: Path, width: float) -> None:
    image = read_image(write(tmp_path, dataset(RAMP, WindowCenter=10, WindowWidth=width)))
    assert image.provenance["window"] is None
    assert image.pixels.flatten()[-1] == 1


def test_monochrome1_is_the_negative(tmp_path: Path) -> None:
    window = {"WindowCenter": 2000, "WindowWidth": 3000}
    plain = read_image(write(tmp_path, dataset(RAMP, **window), "a.dcm"))
    turned = read_image(write(tmp_path, dataset(RAMP, PhotometricInterpretation="MONOCHROME1", **window), "b.dcm"))
    assert torch.allclose(plain.pixels + turned.pixels, torch.ones(1, 64, 64))
    assert torch.equal(plain.values, turned.values)
    assert turned.provenance["inverted"]
    assert not plain.provenance["inverted"]


def test_signed_pixels(tmp_path: Path) -> None:
    signed = RAMP.astype(np.int16) - 2048
    image = read_image(write(tmp_path, dataset(signed)))
    assert image.values.min() == -2048
    assert torch.allclose(image.pixels[0], torch.from_numpy(RAMP / 4095).float())


@pytest.mark.parametrize("limit", [None, -1990])
def test_padding_does_not_affect_the_range(tmp_path: Path, limit: int | None) -> None:
    signed = np.linspace(0, 100, 64, dtype=np.int16).reshape(8, 8).copy()
    signed[0, :2] = [-2000, -2000 if limit is None else -1995]
    made = dataset(signed, RescaleSlope=1, RescaleIntercept=-50)
    made.add_new("PixelPaddingValue", "SS", -2000)
    if limit is not None:
        made.add_new("PixelPaddingRangeLimit", "SS", limit)
    image = read_image(write(tmp_path, made))
    low, high = int(signed[signed > -1000].min()), int(signed.max())
    assert image.pixels[0, 4, 4] == pytest.approx((int(signed[4, 4]) - low) / (high - low))
    assert image.provenance["padding_excluded"]


def lut(entries: np.ndarray, first: int, bits: int) -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(entries), first, bits])
    item.add_new("LUTData", "OW", entries.astype("<u2").tobytes())
    return item


def test_a_voi_table_of_eight_bit_entries_does_not_wrap(tmp_path: Path) -> None:
    made = dataset(RAMP, VOILUTSequence=[lut(np.arange(4096) // 16, 0, 8)], WindowCenter=5, WindowWidth=3)
    image = read_image(write(tmp_path, made))
    assert torch.allclose(image.pixels[0], torch.from_numpy(RAMP // 16 / 255).float())
    assert image.provenance["voi"] == "table"


def test_a_modality_table_gives_the_values(tmp_path: Path) -> None:
    made = dataset(RAMP, ModalityLUTSequence=[lut(np.arange(100)[::-1] * 3, 10, 16)])
    values = read_image(write(tmp_path, made)).values.flatten()
    assert values[[0, 10, 109, 4000]].tolist() == [297, 297, 0, 0]


def test_colours(tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 255, (4, 6, 3), np.uint8)
    image = read_image(write(tmp_path, dataset(colours)))
    assert torch.allclose(image.pixels, torch.from_numpy(colours / 255).float().permute(2, 0, 1))


def test_ybr_and_palette_become_rgb() -> None:
    rgb = read_image(shipped("SC_rgb_dcmtk_+eb+cr.dcm")).pixels
    ybr = read_image(shipped("SC_rgb_dcmtk_+eb+cy+np.dcm")).pixels
    assert (rgb - ybr).abs().mean() < 0.02
    palette = read_image(shipped("examples_palette.dcm"))
    assert palette.pixels.shape == (3, 350, 800)
    assert palette.pixels.max() > 0.9


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("rtdose.dcm", "RT Dose"),
        ("rtplan.dcm", "RT Plan"),
        ("test-SR.dcm", "Comprehensive SR"),
        ("liver_1frame.dcm", "Segmentation"),
        ("waveform_ecg.dcm", "Waveform"),
        ("MR_truncated.dcm", "less than expected"),
    ],
)
def test_a_file_without_an_image_is_refused_by_the_name_of_its_class(name: str, words: str) -> None:
    assert words in refusal(shipped(name))


def test_patient_data_stays_in_the_file(tmp_path: Path) -> None:
    made = dataset(RAMP, StudyDate="20200102", AccessionNumber="A99")
    text = json.dumps(read_image(write(tmp_path, made)).provenance)
    for secret in ("Doe", "4711", "1950", "20200102", "A99", str(made.SOPInstanceUID)):
        assert secret not in text


def test_a_bomb_is_refused_before_decoding(tmp_path: Path) -> None:
    assert "60000 × 60000" in refusal(write(tmp_path, dataset(RAMP, Rows=60000, Columns=60000)))
    made = dataset(RAMP, Rows=11000, Columns=11000, SamplesPerPixel=3, BitsAllocated=64)
    assert "bytes" in refusal(write(tmp_path, made))


def test_a_deflated_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, dataset(np.zeros((512, 512), np.uint16)), syntax=DeflatedExplicitVRLittleEndian)
    assert read_image(path).size == (512, 512)
    monkeypatch.setattr("pellucid.io.dicom_bounded.MAX_DEFLATED", 100_000)
    assert "inflates" in refusal(path)


def test_a_deflated_bomb_behind_a_wrong_group_length_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, dataset(np.zeros((512, 512), np.uint16)), syntax=DeflatedExplicitVRLittleEndian)
    whole = path.read_bytes()
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    harmless = packer.compress(b"harmless") + packer.flush()
    path.write_bytes(whole[:140] + (len(whole) - 144).to_bytes(4, "little") + whole[144:] + harmless)
    assert read_image(path).size == (512, 512)
    monkeypatch.setattr("pellucid.io.dicom_bounded.MAX_DEFLATED", 100_000)
    assert "inflates" in refusal(path)


def larger(name: str, marker: bytes, offsets: dict[int, bytes]) -> bytes:
    """A shipped file whose first codestream states another size after ``marker``."""
    content = bytearray(shipped(name).read_bytes())
    at = content.index(marker, content.index(b"\xff\xd8" if marker[1:2] != b"\x4f" else marker))
    for offset, stated in offsets.items():
        content[at + offset : at + offset + len(stated)] = stated
    return bytes(content)


WIDE = (60000).to_bytes(4), (60000).to_bytes(2)
CODESTREAMS = [
    ("JPEG2000.dcm", b"\xff\x4f\xff\x51", {8: WIDE[0]}),
    ("JPEG2000.dcm", b"\xff\x4f\xff\x51", {12: WIDE[0]}),
    ("JPEG2000.dcm", b"\xff\x4f\xff\x51", {40: b"\x40\0"}),
    ("JPEGLSNearLossless_16.dcm", b"\xff\xf7", {5: WIDE[1]}),
    ("JPEGLSNearLossless_16.dcm", b"\xff\xf7", {7: WIDE[1]}),
    ("JPGExtended.dcm", b"\xff\xc1", {5: WIDE[1], 7: WIDE[1]}),
    ("SC_rgb_dcmtk_+eb+cr.dcm", b"\xff\xc0", {7: WIDE[1]}),
]


@pytest.mark.parametrize(("name", "marker", "offsets"), CODESTREAMS)
def test_a_codestream_larger_than_the_attributes_is_refused_before_decoding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, marker: bytes, offsets: dict[int, bytes]
) -> None:
    (tmp_path / "a.dcm").write_bytes(larger(name, marker, offsets))
    monkeypatch.setattr("pellucid.io.dicom_pixels.iter_pixels", lambda *_, **__: pytest.fail("it was decoded"))
    assert "state the size" in refusal(tmp_path / "a.dcm")


def test_a_box_without_a_length_is_refused(tmp_path: Path) -> None:
    content = bytearray(shipped("GDCMJ2K_TextGBR.dcm").read_bytes())
    at = content.index(b"ftypjp2 ") - 4
    content[at : at + 4] = bytes(4)
    (tmp_path / "a.dcm").write_bytes(content)
    assert "a box without a length" in refusal(tmp_path / "a.dcm")


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_no_shipped_file_that_decodes_is_refused_for_its_codestream(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        read_image(path)
    except ImageError:
        monkeypatch.setattr("pellucid.io.dicom_pixels.check_codestreams", lambda *_: None)
        refusal(path)


@pytest.mark.parametrize("missing", ["PixelData", "Rows", "Columns", "BitsStored", "PhotometricInterpretation"])
def test_missing_attributes_are_refused(tmp_path: Path, missing: str) -> None:
    made = dataset(RAMP)
    delattr(made, missing)
    refusal(write(tmp_path, made))


def test_a_wrong_transfer_syntax_is_refused(tmp_path: Path) -> None:
    assert "JPEG 2000" in refusal(write(tmp_path, encapsulated(), syntax=JPEG2000Lossless))
    path = write(tmp_path, dataset(RAMP))
    path.write_bytes(path.read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.9\0"))
    refusal(path)


def encapsulated() -> Dataset:
    made = dataset(RAMP)
    made.PixelData = pydicom.encaps.encapsulate([b"\xff\x4f\xff\x51 broken codestream"])
    made["PixelData"].is_undefined_length = True
    return made


def test_a_file_without_preamble_is_read_by_its_content(tmp_path: Path) -> None:
    bare = tmp_path / "bare.dcm"
    bare.write_bytes(shipped("MR_small_implicit.dcm").read_bytes())
    made = pydicom.dcmread(bare)
    del made.file_meta
    made.preamble = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made.save_as(bare, implicit_vr=True, little_endian=True)
    assert bare.read_bytes()[128:132] != b"DICM"
    assert read_image(bare).size == (64, 64)
    for name in ("bare", "1.2.826.0.1", "X.MR.0001.IMA"):
        bare = bare.rename(tmp_path / name)
        assert read_image(bare).size == (64, 64)


@pytest.mark.parametrize("content", [b"no DICOM at all, just words\n" * 9, os.urandom(500), b"\0" * 500, b"x"])
def test_other_files_named_dcm_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(content)
    refusal(path)
    path.write_bytes(b"\0" * 128 + b"DICM" + content)
    refusal(path)


def test_damaged_bytes_are_read_or_refused(tmp_path: Path) -> None:
    whole = write(tmp_path, dataset(RAMP[:8, :8].copy(), WindowCenter=5, WindowWidth=3)).read_bytes()
    generator = np.random.default_rng(2)
    path = tmp_path / "damaged.dcm"
    for _ in range(150):
        damaged = bytearray(whole)
        for offset in generator.integers(132, len(whole), 4):
            damaged[offset] = generator.integers(256)
        path.write_bytes(damaged)
        try:
            assert read_image(path).pixels.isfinite().all()
        except ImageError:
            continue


def test_values_that_are_not_finite_become_black(tmp_path: Path) -> None:
    made = dataset(np.array([[np.nan, 1], [2, np.inf]], np.float32))
    made.add_new("FloatPixelData", "OF", made.PixelData)
    del made.PixelData, made.PixelRepresentation, made.BitsStored, made.HighBit
    image = read_image(write(tmp_path, made))
    assert image.pixels.flatten().tolist() == [0, 0, 1, 1]


def test_a_decoder_that_panics_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class PanicError(BaseException):
        """What pyo3 raises for a panic in Rust, as pylibjpeg's RLE decoder does on damaged runs."""

    def panic(*_: object, **__: object) -> None:
        raise PanicError("index out of bounds")

    path = write(tmp_path, dataset(RAMP))
    monkeypatch.setattr("pellucid.io.dicom_pixels.iter_pixels", panic)
    assert "index out of bounds" in refusal(path)


def test_an_interrupt_is_not_reported_as_a_broken_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    path = write(tmp_path, dataset(RAMP))
    monkeypatch.setattr("pellucid.io.dicom_pixels.iter_pixels", interrupt)
    with pytest.raises(KeyboardInterrupt):
        read_image(path)


REFUSED = ("RTDose", "Segmentation")


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_every_file_that_pydicom_decodes_is_read(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            source = pydicom.dcmread(path)
            decoded = source.pixel_array
        except Exception:  # what pydicom does not take, we need not
            return
        if source.SOPClassUID.keyword.startswith(REFUSED):
            assert "is not an image" in refusal(path)
            return
        image = read_image(path)
    height, width = source.Rows, source.Columns
    assert image.size[-2:] == (height, width)
    assert image.pixels.numel() in (decoded.size, 3 * decoded.size)  # palettes become colours
