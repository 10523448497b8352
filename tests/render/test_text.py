"""The caption below an image: its band, its lines, and the characters that the font lacks."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image as Pillow

from pellucid.render import with_caption
from pellucid.render.text import drawable, font, wrapped

LONG = "pleural effusion (3) · p = 0.873 · hirescam at features.denseblock4 · AI explanation, not for diagnosis"


@pytest.mark.parametrize("size", [(1, 1), (8, 400), (64, 64), (224, 224), (1024, 1024), (900, 90)])
def test_the_image_is_unchanged_and_the_text_stays_in_its_band(size: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), np.uint8)
    drawn = np.asarray(with_caption(Pillow.fromarray(noise), LONG))
    assert np.array_equal(drawn[: size[1], : size[0]], noise)
    assert drawn.shape[1] == max(size[0], 160)
    band = drawn[size[1] :]
    assert (band < 128).any()
    assert (band[[0, -1]] == 255).all()  # no line is cut off above, below or beside
    assert (band[:, [0, -1]] == 255).all()


def test_a_grey_image_stays_grey() -> None:
    levels = np.arange(200, dtype=np.uint8)[None].repeat(30, axis=0)
    drawn = np.asarray(with_caption(Pillow.fromarray(levels), "text"))
    assert np.array_equal(drawn[:30, :200], levels[..., None].repeat(3, axis=2))


@pytest.mark.parametrize("width", [1, 40, 90, 160, 2000])
@pytest.mark.parametrize("text", [LONG, "x" * 300, "a · b", "", "   "])
def test_no_line_is_wider_than_asked_and_no_word_is_lost(text: str, width: int) -> None:
    lines = wrapped(text, font(10), width)
    assert all(font(10).getlength(line) <= width or len(line) == 1 for line in lines)
    assert "".join("".join(lines).split()) == "".join(text.split())
    if width >= 40:
        assert not any(line.startswith("·") for line in lines)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("effusion (3) · p = 0.5 … −", "effusion (3) · p = 0.5 … −"),
        ("Ödem, œdème, Плевральный, υγρό", "Ödem, œdème, Плевральный, υγρό"),
        ("O\N{COMBINING DIAERESIS}dem", "Ödem"),
        ("肺结节 (1)", "□□□ (1)"),
        ("تكلس (3)", "□□□□ (3)"),
        ("a\nb\tc\0d\N{RIGHT-TO-LEFT OVERRIDE}e", "a b c d e"),
    ],
)
def test_characters_that_cannot_be_drawn_become_squares(text: str, expected: str) -> None:
    assert drawable(text) == expected
