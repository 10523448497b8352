"""PNG files: Pillow, which did not write them, reads the same pixels."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image as Pillow

from pellucid.render.encoding import png, read_thumbnail, thumbnail

SHAPES = st.tuples(st.integers(1, 40), st.integers(1, 40), st.sampled_from([(), (3,)])).map(
    lambda sizes: (*sizes[:2], *sizes[2])
)


def read(content: bytes) -> Pillow.Image:
    with Pillow.open(io.BytesIO(content)) as image:
        image.load()
        assert image.format == "PNG"
        return image.copy()


@given(SHAPES.flatmap(lambda shape: arrays(np.uint8, shape)))
def test_encoded_files_are_read_back(levels: np.ndarray) -> None:
    image = Pillow.fromarray(levels)
    found = read(png(image))
    assert found.mode == image.mode
    assert np.array_equal(np.asarray(found), levels)


def test_a_thumbnail_is_kept_and_the_pixels_are_the_same(tmp_path: Path) -> None:
    y, x = np.mgrid[:300, :400]
    image = Pillow.fromarray(np.stack([x // 2, y // 2, (x + y) // 4], axis=-1).astype(np.uint8))
    content = png(image, thumbnail(image, (200, 300)))
    assert np.array_equal(np.asarray(read(content)), np.asarray(image))
    (tmp_path / "a.png").write_bytes(content)
    with Pillow.open(io.BytesIO(read_thumbnail(tmp_path / "a.png"))) as small:
        expected = image.crop((0, 0, 200, 300)).resize((128, 192))
        assert (small.format, small.size) == ("JPEG", expected.size)
        assert np.abs(np.asarray(small).astype(float) - np.asarray(expected)).mean() < 3


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1)])
def test_thumbnails_of_any_shape(size: tuple[int, int]) -> None:
    image = Pillow.new("RGB", size)
    with Pillow.open(io.BytesIO(thumbnail(image, size))) as small:
        assert max(small.size) <= 192
        assert min(small.size) == 1


def test_every_byte_is_checked() -> None:
    content = bytearray(png(Pillow.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16))))
    content[45] ^= 1
    with pytest.raises((OSError, SyntaxError)):
        read(bytes(content))


@pytest.mark.parametrize("channels", [(), (3,)])
def test_files_are_about_as_large_as_those_of_pillow(channels: tuple[int, ...]) -> None:
    y, x = np.mgrid[:300, :400]
    smooth = (127 + 60 * np.sin(x / 40) * np.cos(y / 30)).astype(np.uint8)
    noise = np.random.default_rng(0).integers(0, 8, (300, 400, *channels), dtype=np.uint8)
    image = Pillow.fromarray(smooth.reshape(300, 400, *(1,) * len(channels)) + noise)
    other = io.BytesIO()
    image.save(other, "PNG", compress_level=1)
    assert len(png(image)) < 1.1 * len(other.getvalue())
