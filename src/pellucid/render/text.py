"""Text in images: the font of all labels, and a caption in a band below an image."""

from __future__ import annotations

import unicodedata
from functools import cache, lru_cache
from pathlib import Path

import matplotlib
from matplotlib.ft2font import FT2Font
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

INK = (60, 60, 60)
_SMALLEST = 10
"""The smallest font size in pixels."""
_NARROWEST = 160  # pixels; in a narrower band a caption has too few letters on a line
_LINE_HEIGHT = 1.35
_NO_GLYPH = "\N{WHITE SQUARE}"


def with_caption(image: Pillow.Image, text: str) -> Pillow.Image:
    """Add a text in a white band below an image. The image's own pixels are unchanged, and stay at the left edge.

    The text is wrapped; its size depends on the image's, not on its own length. A very narrow image gets a wider band.
    """
    size = max(_SMALLEST, round((image.width * image.height) ** 0.5 / 36))
    width = max(image.width, _NARROWEST)
    margin = size // 2
    lines = wrapped(drawable(text), font(size), width - 2 * margin)
    step = round(_LINE_HEIGHT * size)
    canvas = Pillow.new("RGB", (width, image.height + step * len(lines) + 2 * margin), "white")
    canvas.paste(image.convert("RGB"), (0, 0))
    draw = ImageDraw.Draw(canvas)
    for index, line in enumerate(lines):
        level = image.height + margin + step * index + step // 2
        draw.text((margin, level), line, fill=INK, font=font(size), anchor="lm")
    return canvas


@lru_cache(maxsize=32)
def font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which matplotlib brings along: Latin, Greek and Cyrillic, the same on every machine."""
    return ImageFont.truetype(_font_file(), size, layout_engine=ImageFont.Layout.BASIC)


def drawable(text: str) -> str:
    """The text with a square for every character that the font lacks, or that is read from right to left.

    The order of such letters would be wrong, and Arabic ones would not be joined.
    """
    return "".join(_drawable(char) for char in unicodedata.normalize("NFC", text))


def _drawable(char: str) -> str:
    if char.isspace() or not char.isprintable():
        return " "
    is_drawn = ord(char) in _glyphs() and unicodedata.bidirectional(char) not in ("R", "AL")
    return char if is_drawn else _NO_GLYPH


def wrapped(text: str, used: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """The text in lines of at most a width in pixels. A word that is wider is broken; no line begins with a "·"."""
    lines = [""]
    for word in text.replace(" · ", " ·\n").replace(" ", "\n").replace("\n·", " ·").split("\n"):
        longer = f"{lines[-1]} {word}".strip()
        if used.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines += _broken(word, used, width)
    return [line for line in lines if line]


def _broken(word: str, used: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """A word in pieces of at most a width."""
    pieces = [""]
    for char in word:
        if pieces[-1] and used.getlength(pieces[-1] + char) > width:
            pieces.append("")
        pieces[-1] += char
    return pieces


@cache
def _font_file() -> str:
    return str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf")


@cache
def _glyphs() -> frozenset[int]:
    """The code points that the font has."""
    return frozenset(FT2Font(_font_file()).get_charmap())
