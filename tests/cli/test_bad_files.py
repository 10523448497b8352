"""One bad file never ends a run: the rest are explained, the file is named in one line, nothing half-written stays."""

from __future__ import annotations

import gzip
import os
import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image as Pillow
from pydicom.uid import ImplicitVRLittleEndian
from typer.testing import Result

import pellucid as package
from pellucid.core.geometry import Geometry
from pellucid.core.image import Image
from pellucid.errors import ImageError, NoSpatialLayerError, ShapeError
from pellucid.export.formats import png
from pellucid.models.preprocessing import Preprocessing
from pellucid.render import with_colour_bar
from pellucid.run.explainer import Explainer
from tests.cli.conftest import MODEL, one_line, save, three, written
from tests.io.test_dicom import dataset

LEVELS = np.arange(64, dtype=np.uint16).reshape(8, 8)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of(width: int, height: int, colour: int = 0, before: bytes = b"", data: bytes | None = None) -> bytes:
    """A PNG of 8 bits, by default with black pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0))
    rows = zlib.compress(bytes((width + 1) * height)) if data is None else data
    return b"\x89PNG\r\n\x1a\n" + header + before + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def tiff_of(**changes: int) -> bytes:
    """A grey TIFF of 8 × 8 pixels with some of its tags changed."""
    tags = {256: 8, 257: 8, 258: 8, 259: 1, 262: 1, 273: 200, 277: 1, 278: 8, 279: 64}
    tags |= {int(name[1:]): value for name, value in changes.items()}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    return (b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries).ljust(264, b"\0")


def saved(kind: str, share: float = 1) -> bytes:
    """A photograph in a format, cut after a share of its bytes."""
    file = BytesIO()
    Pillow.fromarray(np.random.default_rng(0).integers(0, 256, (30, 30, 3), np.uint8)).save(file, kind)
    return file.getvalue()[: int(share * len(file.getvalue()))]


def nifti(position: int, layout: str, *values: float) -> bytes:
    """A NIfTI file with some values of its header changed."""
    content = bytearray(nibabel.Nifti1Image(np.zeros((4, 5, 6), np.int16), np.eye(4)).to_bytes())
    struct.pack_into(f"<{layout}", content, position, *values)
    return bytes(content)


def dicom(**changes: object) -> bytes:
    """A DICOM file with some attributes changed."""
    made, file = dataset(LEVELS), BytesIO()
    for name, value in changes.items():
        setattr(made, name, value)
    made.save_as(file, implicit_vr=True, little_endian=True)
    return bytes(128) + b"DICM" + META + file.getvalue()


def element(tag: tuple[int, int], kind: bytes, value: bytes) -> bytes:
    return struct.pack("<HH2sH", *tag, kind, len(value)) + value


META = element((2, 0x10), b"UI", ImplicitVRLittleEndian.encode() + b"\0")
META = element((2, 0), b"UL", struct.pack("<I", len(META))) + META


def with_rows(value: bytes) -> bytes:
    """A DICOM file whose Rows are stated in another length."""
    content, rows = dicom(), struct.pack("<HHI", 0x28, 0x10, 2)
    start = content.index(rows)
    return content[:start] + struct.pack("<HHI", 0x28, 0x10, len(value)) + value + content[start + 10 :]


def nested(depth: int) -> bytes:
    """A DICOM file of sequences within sequences."""
    begin = struct.pack("<HHI", 0x40, 0xA730, 0xFFFFFFFF) + struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    end = struct.pack("<HHI", 0xFFFE, 0xE00D, 0) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    return bytes(128) + b"DICM" + META + begin * depth + end * depth


BAD: dict[str, bytes] = {
    "tall.png": png_of(1, 100_000),
    "wide.png": png_of(100_000, 1),
    "no-pixels.png": png_of(0, 5),
    "huge.png": png_of(2**31 - 1, 2**31 - 1, data=b""),
    "no-palette.png": png_of(8, 8, colour=3),
    "no-transparency.png": png_of(8, 8, before=chunk(b"tRNS", b"")),
    "profile-bomb.png": png_of(8, 8, before=chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(20_000_000)))),
    "frames.png": png_of(8, 8, before=chunk(b"acTL", struct.pack(">II", 2**31, 0))),
    "not-deflated.png": png_of(8, 8, data=b"no zlib"),
    "text.png": b"hello\n" * 40,
    "empty.png": b"",
    "tall.tif": tiff_of(_256=1, _257=100_000),
    "huge.tif": tiff_of(_256=2**31, _257=2**31),
    "beyond.tif": tiff_of(_273=10**9),
    "samples.tif": tiff_of(_277=65535),
    "compression.tif": tiff_of(_259=34712),
    "no-rows.tif": tiff_of(_278=0),
    **{f"cut-{kind}.{ending}": saved(kind, 0.6) for kind, ending in [("PNG", "png"), ("TIFF", "tif"), ("BMP", "bmp")]},
    **{f"cut-{kind}.{ending}": saved(kind, 0.6) for kind, ending in [("JPEG", "jpg"), ("WEBP", "webp")]},
    "affine-nan.nii": nifti(280, "12f", *[np.nan] * 12),
    "affine-singular.nii": nifti(280, "12f", *[0] * 12),
    "dims.nii": nifti(40, "8h", 3, 32767, 32767, 32767, 1, 1, 1, 1),
    "dims-negative.nii": nifti(40, "8h", 3, -4, 5, 6, 1, 1, 1, 1),
    "type.nii": nifti(70, "h", 999),
    "offset.nii": nifti(108, "f", np.nan),
    "cut.nii": nifti(0, "i", 348)[:400],
    "cut.nii.gz": gzip.compress(nifti(0, "i", 348))[:60],
    "no-gzip.nii.gz": b"hello" * 100,
    "rows-4-bytes.dcm": with_rows(struct.pack("<HH", 8, 8)),
    "rows-1-byte.dcm": with_rows(b"\x08"),
    "rows-0.dcm": dicom(Rows=0),
    "frames.dcm": dicom(NumberOfFrames=10**9),
    "bits.dcm": dicom(BitsAllocated=12),
    "samples.dcm": dicom(SamplesPerPixel=0),
    "palette.dcm": dicom(PhotometricInterpretation="PALETTE COLOR"),
    "short.dcm": dicom(PixelData=bytes(20)),
    "cut.dcm": dicom()[:300],
    "nested.dcm": nested(3000),
}


def names_of(output: Path) -> list[str]:
    return [name for name in written(output) if name.endswith("_overlay.png")]


def test_bad_files_are_named_one_by_one_and_the_rest_are_explained(
    explain: Callable[..., Result], tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    save(folder / "a-good.png")
    save(folder / "z-good.png")
    for name, content in BAD.items():
        (folder / name).write_bytes(content)
    result = explain(folder)
    assert result.exit_code == 1
    lines = result.stderr.splitlines()
    for name in BAD:
        named = [line for line in lines if line.startswith(f"error: cannot read {folder / name}: ")]
        assert len(named) == 1, (name, named)
        assert "()" not in named[0]
    assert len(lines) == len(BAD), lines
    assert written(tmp_path / "out") == three("a-good", "z-good")


def test_a_good_file_of_each_kind_is_good(tmp_path: Path) -> None:
    """The bad files above are bad for the reason that their name states."""
    for name, content in {
        "a.png": png_of(8, 8),
        "a.tif": tiff_of(),
        "a.nii": nifti(0, "i", 348),
        "a.dcm": dicom(),
        "b.dcm": with_rows(struct.pack("<H", 8)),
    }.items():
        (tmp_path / name).write_bytes(content)
        assert package.read_image(tmp_path / name).pixels.isfinite().all()


def odd(folder: Path) -> None:
    """Entries of a folder that are no files."""
    os.mkfifo(folder / "pipe.png")
    (folder / "folder.png").mkdir()
    (folder / "loop.png").symlink_to(folder / "loop.png")
    (folder / "gone.png").symlink_to(folder / "nowhere")
    (folder / "zeros.png").symlink_to("/dev/zero")
    (folder / "round").symlink_to(folder)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are POSIX")
def test_what_is_no_file_is_not_opened(explain: Callable[..., Result], tmp_path: Path) -> None:
    save(tmp_path / "in" / "good.png")
    odd(tmp_path / "in")
    assert explain(tmp_path / "in").exit_code == 0
    assert written(tmp_path / "out") == three("good")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are POSIX")
@pytest.mark.parametrize("as_volumes", [False, True])
def test_what_is_no_file_is_refused_where_it_is_named(
    explain: Callable[..., Result], tmp_path: Path, as_volumes: bool
) -> None:
    folder = tmp_path / "in"
    save(folder / "good.png")
    odd(folder)
    named = [folder / name for name in ("pipe.png", "loop.png", "gone.png", "zeros.png")]
    result = explain(folder / "good.png", *named, *(["--as", "volume"] if as_volumes else []))
    assert result.exit_code == 1
    assert [line.split(": ")[1] for line in result.stderr.splitlines()] == [f"cannot read {path}" for path in named]
    assert written(tmp_path / "out") == three("good")


@pytest.mark.parametrize(
    "name",
    ["....png", "..png", ".png", " .png", "a\nb.png", "-rf.png", "a%s.png", "\u202egnp.png", "a\\b.png", "*.png"],
)
def test_odd_names(explain: Callable[..., Result], tmp_path: Path, name: str) -> None:
    path = save(tmp_path / "good.png").rename(tmp_path / name)
    result = explain(save(tmp_path / "other.png"), path)
    assert result.exit_code == 0, result.stderr
    assert len(names_of(tmp_path / "out")) == 2
    assert {file.parent for file in (tmp_path / "out").rglob("*_overlay.png")} == {tmp_path / "out"}


def test_names_that_are_not_text(explain: Callable[..., Result], tmp_path: Path) -> None:
    try:
        good = save(tmp_path / "in" / "good.png")
        good.with_name(os.fsdecode(b"\xff\xfe.png")).write_bytes(b"bad")
    except OSError:
        pytest.skip("this file system only takes names that are text")
    result = explain(tmp_path / "in")
    assert result.exit_code == 1
    one_line(result, "cannot read")
    assert written(tmp_path / "out") == three("good")


ERRORS = [RecursionError("deep"), MemoryError(), OverflowError("x"), struct.error("x"), zlib.error("x"), KeyError("x")]


def failing_once(error: Exception, instead_of: Callable[..., object]) -> Callable[..., object]:
    """A function that raises an error on its second call."""
    calls = []

    def call(*arguments: object, **options: object) -> object:
        calls.append(1)
        if len(calls) == 2:
            raise error
        return instead_of(*arguments, **options)

    return call


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("where", ["read", "prepare", "metadata"])
def test_whatever_a_library_raises(
    explain: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, error: Exception
) -> None:
    monkeypatch.setattr("pellucid.run.job._WORKERS", 1)  # one file after the other
    names = {"read": "pellucid.io.raster._decode", "metadata": "pellucid.run.results.metadata"}
    if where == "prepare":
        monkeypatch.setattr(Preprocessing, "_colour", failing_once(error, Preprocessing._colour))
    else:
        owner, _, name = names[where].rpartition(".")
        module = __import__(owner, fromlist=[name])
        monkeypatch.setattr(module, name, failing_once(error, getattr(module, name)))
    for name in "abc":
        save(tmp_path / "in" / f"{name}.png")
    result = explain(tmp_path / "in")
    assert result.exit_code == 1
    line = one_line(result, str(tmp_path / "in" / "b.png"))
    assert type(error).__name__ in line or "memory" in line or "cut short" in line
    assert written(tmp_path / "out") == three("a", "c")


def test_a_format_that_fails_leaves_the_others(
    explain: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(png, "export", failing_once(struct.error("of a patient"), png.export))
    for name in "ab":
        save(tmp_path / "in" / f"{name}.png")
    result = explain(tmp_path / "in", "--export", "png,npz")
    assert result.exit_code == 1
    line = one_line(result, "export 'png' failed (error): choose another format")
    assert "patient" not in line
    left = set(written(tmp_path / "out"))
    left -= {f"{stem}_{what}" for stem in "ab" for what in ("explanation.npz", "metadata.json")}
    assert left in ({"a_heatmap.png", "a_overlay.png"}, {"b_heatmap.png", "b_overlay.png"})


def test_an_image_that_the_request_does_not_fit_leaves_those_of_other_sizes(
    explain: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network that takes images of any size may have no positions left for a tiny one."""
    call = Explainer.__call__

    def strict(self: Explainer, images: object, *rest: object) -> object:
        if images.shape[-1] == 4:
            raise NoSpatialLayerError("too small")
        return call(self, images, *rest)

    monkeypatch.setattr(Explainer, "__call__", strict)
    spec = f"{tmp_path / 'any.py'}:make"
    (tmp_path / "any.py").write_text(MODEL.replace('"size": (32, 32), ', ""))
    save(tmp_path / "in" / "a-tiny.png", (4, 4))
    save(tmp_path / "in" / "good.png")
    result = explain(tmp_path / "in", spec=spec)
    errors = [line for line in result.stderr.splitlines() if line.startswith("error")]
    assert (result.exit_code, errors) == (1, [f"error: {tmp_path / 'in' / 'a-tiny.png'}: too small"])
    assert names_of(tmp_path / "out") == ["good_overlay.png"]
    alone = explain(tmp_path / "in" / "a-tiny.png", spec=spec, output=tmp_path / "other")
    assert alone.exit_code == 3


def test_resized_images_are_bounded_before_they_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    line = torch.zeros(1, 1, 200_000)
    image = Image(line, line, Geometry.identity((1, 200_000)))
    monkeypatch.setattr("pellucid.models.resizing._interpolated", lambda *_: pytest.fail("it was resized"))
    with pytest.raises(ShapeError, match=r"1 × 200000 pixels would be resized to 224 × 44800000; .*: crop them"):
        Preprocessing(resize=224, crop=(224, 224))(image)


def test_a_narrow_image_has_a_narrow_colour_bar() -> None:
    drawn = with_colour_bar(Pillow.new("L", (20, 4000)))
    assert drawn.width < 200
    added = [with_colour_bar(Pillow.new("L", (width, 400))).width - width for width in (90, 400)]
    assert added[0] == added[1]


def test_files_of_too_many_bytes_are_refused_before_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(tmp_path / "a.png")
    monkeypatch.setattr("pellucid.io.MAX_BYTES", 100)
    monkeypatch.setattr(Path, "open", lambda *_: pytest.fail("it was opened"))
    with pytest.raises(ImageError, match="more than 100 bytes"):
        package.read_image(path)


def test_extreme_shapes_are_refused_with_a_remedy_that_works(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png_of(1, 201))
    with pytest.raises(ImageError, match="201 × 1 pixels; one side may have at most 200 times the other's: crop it"):
        package.read_image(path)
    Pillow.open(path).crop((0, 0, 1, 200)).save(path)
    assert package.read_image(path).size == (200, 1)
