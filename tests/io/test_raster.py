"""Raster images: what is read, what is recorded, and how hostile files are refused."""

from __future__ import annotations

import json
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import PIL
import pytest
import torch
from PIL import Image as Pillow

from pellucid.core.geometry import Geometry
from pellucid.errors import ImageError, PellucidWarning
from pellucid.io import FORMATS, SUFFIXES, read_image

RAMP = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5


def save(folder: Path, array: np.ndarray, name: str = "drawn.png", mode: str | None = None, **options: object) -> Path:
    path = folder / name
    drawn = Pillow.fromarray(array)
    (drawn if mode is None else drawn.convert(mode)).save(path, **options)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(ImageError) as caught:
        read_image(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.bmp"])
def test_grey_levels_are_divided_by_255(tmp_path: Path, name: str) -> None:
    image = read_image(save(tmp_path, RAMP, name))
    assert image.pixels.shape == (1, 6, 8)
    assert image.pixels.dtype == torch.float32
    assert torch.allclose(image.pixels[0], torch.from_numpy(RAMP / 255).float())
    assert torch.equal(image.values, image.pixels)
    assert image.geometry == Geometry.identity((6, 8))


@pytest.mark.parametrize("name", ["a.jpg", "a.webp", "a.png"])
def test_colours_come_channels_first(tmp_path: Path, name: str) -> None:
    red = np.zeros((16, 24, 3), np.uint8)
    red[..., 0] = 255
    image = read_image(str(save(tmp_path, red, name)))
    assert image.pixels.shape == (3, 16, 24)
    assert torch.allclose(image.pixels.mean((1, 2)), torch.tensor([1.0, 0, 0]), atol=0.02)


def test_the_name_does_not_matter(tmp_path: Path) -> None:
    path = save(tmp_path, RAMP, "a.png").rename(tmp_path / "a.dcm")
    image = read_image(path)
    assert image.provenance["format"] == "PNG"
    assert json.loads(json.dumps(image.provenance)) == image.provenance


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_sixteen_bits_are_divided_by_65535(tmp_path: Path, name: str) -> None:
    deep = np.array([[0, 1000], [30000, 65535]], np.uint16)
    image = read_image(save(tmp_path, deep, name))
    assert torch.allclose(image.pixels[0], torch.from_numpy(deep / 65535).float())
    assert image.provenance["bits"] == 16


def test_twelve_bits_in_sixteen_cause_a_warning(tmp_path: Path) -> None:
    path = save(tmp_path, np.array([[0, 4095]], np.uint16))
    with pytest.warns(PellucidWarning, match="12 bits") as caught:
        image = read_image(path)
    assert "\n" not in str(caught[0].message)
    assert image.pixels.max() == pytest.approx(4095 / 65535)


@pytest.mark.parametrize("level", [1, 255])
def test_a_mask_of_sixteen_bits_is_not_dark(tmp_path: Path, level: int) -> None:
    path = save(tmp_path, np.array([[0, level]], np.uint16))
    assert read_image(path).provenance["maximum"] == level
    with pytest.warns(PellucidWarning, match="12 bits"):
        read_image(save(tmp_path, np.array([[0, level, level + 1]], np.uint16)))


def test_a_black_sixteen_bit_image_causes_no_warning(tmp_path: Path) -> None:
    assert read_image(save(tmp_path, np.zeros((4, 4), np.uint16))).pixels.max() == 0


def test_a_deep_white_is_zero_tiff_is_inverted(tmp_path: Path) -> None:
    path = save(tmp_path, np.array([[0, 65535]], np.uint16), "a.tif", tiffinfo={262: 0})
    image = read_image(path)
    assert image.pixels.flatten().tolist() == [1, 0]
    assert image.provenance["inverted"]


def big_tiff(levels: np.ndarray) -> bytes:
    """A BigTIFF file of grey levels; that of Pillow 11.1 ends in the middle of its directory."""
    height, width = levels.shape
    tags = {256: width, 257: height, 258: 8, 259: 1, 262: 1, 273: 16, 277: 1, 278: height, 279: levels.size}
    entries = b"".join(struct.pack("<HHQQ", tag, 4, 1, value) for tag, value in tags.items())
    directory = struct.pack("<Q", len(tags)) + entries + struct.pack("<Q", 0)
    return struct.pack("<2sHHHQ", b"II", 43, 8, 0, 16 + levels.size) + levels.tobytes() + directory


def test_big_tiff_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(big_tiff(RAMP))
    assert torch.equal(read_image(tmp_path / "a.tif").pixels[0], torch.from_numpy(RAMP / 255).float())


def test_one_bit(tmp_path: Path) -> None:
    image = read_image(save(tmp_path, np.array([[0, 255]], np.uint8), mode="1"))
    assert image.pixels.flatten().tolist() == [0, 1]
    assert image.provenance["bits"] == 1


def test_integers_are_scaled_and_that_is_recorded(tmp_path: Path) -> None:
    image = read_image(save(tmp_path, np.array([[-1000, 0, 1000]], np.int32), "a.tif"))
    assert image.pixels.flatten().tolist() == [0, 0.5, 1]
    assert image.provenance["stretched"] == [-1000, 1000]


def test_floats_in_range_are_unchanged(tmp_path: Path) -> None:
    image = read_image(save(tmp_path, np.array([[0.25, 0.5]], np.float32), "a.tif"))
    assert image.pixels.flatten().tolist() == [0.25, 0.5]
    assert image.provenance["stretched"] is None


def test_floats_out_of_range_are_scaled(tmp_path: Path) -> None:
    assert read_image(save(tmp_path, np.array([[-3, 5]], np.float32), "a.tif")).pixels.flatten().tolist() == [
        0,
        1,
    ]
    assert read_image(save(tmp_path, np.full((2, 2), 7, np.float32), "b.tif")).pixels.max() == 0
    assert "finite" in refusal(save(tmp_path, np.array([[np.nan, 1]], np.float32), "c.tif"))


YCBCR = pytest.mark.skipif(int(PIL.__version__.split(".")[0]) < 13, reason="Pillow before 13 refuses such files")


@pytest.mark.parametrize(
    ("mode", "name"), [("P", "a.png"), ("CMYK", "a.jpg"), pytest.param("YCbCr", "a.tif", marks=YCBCR)]
)
def test_other_colour_modes_become_rgb(tmp_path: Path, mode: str, name: str) -> None:
    blue = np.zeros((16, 16, 3), np.uint8)
    blue[..., 2] = 255
    image = read_image(save(tmp_path, blue, name, mode))
    assert torch.allclose(image.pixels.mean((1, 2)), torch.tensor([0, 0, 1.0]), atol=0.03)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_blended_with_black(tmp_path: Path, mode: str) -> None:
    drawn = Pillow.new(mode, (4, 2), (200, 51) if mode == "LA" else (200, 200, 200, 51))
    drawn.save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    assert image.pixels.shape[0] == (1 if mode == "LA" else 3)
    assert torch.allclose(image.pixels, torch.tensor(200 / 255 * 0.2))
    assert image.provenance["alpha_dropped"]


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
def test_transparent_colours_are_blended_with_black(tmp_path: Path, mode: str) -> None:
    white = Pillow.new(mode, (3, 3), "white")
    key = (255, 255, 255) if mode == "RGB" else white.getpixel((0, 0))
    white.save(tmp_path / "a.png", transparency=key)
    assert read_image(tmp_path / "a.png").pixels.max() == 0


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.png", "a.tif", "deep.png"])
def test_orientation_is_applied(tmp_path: Path, orientation: int, name: str) -> None:
    upright = RAMP.astype(np.uint16) * 257 if name.startswith("deep") else RAMP
    turned = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.T,
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].T,
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    image = read_image(save(tmp_path, np.ascontiguousarray(turned), name, exif=exif))
    assert torch.allclose(image.pixels[0], torch.from_numpy(RAMP / 255).float())
    assert image.provenance["orientation_applied"] is (orientation != 1)


@pytest.mark.parametrize(("name", "noun"), [("a.tif", "pages"), ("a.webp", "frames"), ("a.png", "frames")])
def test_several_images_in_one_file_are_refused(tmp_path: Path, name: str, noun: str) -> None:
    pages = [Pillow.fromarray(RAMP), Pillow.fromarray(255 - RAMP)]
    pages[0].save(tmp_path / name, save_all=True, append_images=pages[1:])
    assert f"2 {noun}" in refusal(tmp_path / name)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@pytest.mark.parametrize(("width", "height"), [(100_000, 100_000), (12_000, 12_000), (2**31 - 1, 1)])
def test_a_bomb_is_refused_from_its_header(tmp_path: Path, width: int, height: int) -> None:
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    path = tmp_path / "bomb.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b""))
    assert "pixels" in refusal(path)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.bmp", "a.webp"])
def test_a_file_cut_anywhere_is_refused(tmp_path: Path, name: str) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (40, 40, 3), np.uint8)
    whole = save(tmp_path, noise, name).read_bytes()
    for share in (0.01, 0.1, 0.5, 0.8):
        path = tmp_path / f"cut_{name}"
        path.write_bytes(whole[: max(1, int(len(whole) * share))])
        refusal(path)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.bmp", "a.webp"])
def test_damaged_bytes_are_read_or_refused(tmp_path: Path, name: str) -> None:
    whole = save(tmp_path, np.tile(RAMP, (4, 4)), name).read_bytes()
    generator = np.random.default_rng(1)
    path = tmp_path / f"damaged_{name}"
    for _ in range(150):
        damaged = bytearray(whole)
        for position in generator.integers(0, min(len(whole), 400), 3):
            damaged[position] = generator.integers(256)
        path.write_bytes(damaged)
        try:
            pixels = read_image(path).pixels
        except ImageError:
            continue
        assert pixels.min() >= 0
        assert pixels.max() <= 1


def test_other_files_are_refused(tmp_path: Path) -> None:
    text = tmp_path / "text.png"
    text.write_text("this is not an image\n" * 50)
    assert "not in a format that is read" in refusal(text)
    empty = tmp_path / "empty.png"
    empty.touch()
    assert "empty" in refusal(empty)
    assert "folder" in refusal(tmp_path)
    assert "no such file" in refusal(tmp_path / "missing.png")
    refusal(tmp_path / "null\0byte.png")
    assert f"({', '.join(FORMATS)})" in refusal(text)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are POSIX")
def test_a_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    assert "regular" in refusal(tmp_path / "pipe.png")


def test_missing_permission_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    path = save(tmp_path, RAMP)
    monkeypatch.setattr(Path, "open", forbidden)  # root may read everything: chmod would prove nothing
    assert "permission" in refusal(path)


def test_line_breaks_in_a_name_do_not_reach_the_message(tmp_path: Path) -> None:
    with pytest.raises(ImageError) as caught:
        read_image(tmp_path / "a\nb.png")
    assert "\n" not in str(caught.value)


def test_suffixes_are_lower_case_endings() -> None:
    assert all(suffix.startswith(".") and suffix == suffix.lower() for suffix in SUFFIXES)
    assert {".png", ".jpeg", ".tif", ".dcm", ".dicom"} <= set(SUFFIXES)
