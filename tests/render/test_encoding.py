"""PNG files: Pillow, which did not write them, reads the same pixels."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image as Pillow

from pellucid.render.encoding import png

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
