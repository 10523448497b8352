"""Cases that are shown as images, with how they were chosen, and thumbnails where their files are there."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path, PurePosixPath

from markupsafe import Markup
from PIL import Image as Pillow

from pellucid.evaluation.evaluation import Evaluation, Example
from pellucid.render.encoding import read_thumbnail, thumbnail
from pellucid.report.reading import is_regular

MOST = 480
"""The most images that are shown: some 10 kB each."""
LEGEND = (
    "Colours show the map from 0 to 1, where 1 is the map's own maximum: the colour bar stands beside each image. The "
    "white line is the outline of the annotated finding, and the ring with cross hairs the map's peak. Other "
    "findings of the image have no outline here. An image without colours has an empty map, or none."
)
_MAX_BYTES = 2**26
_MAX_PIXELS = 2**25
_SIDE = 256
_CHOSEN: Mapping[str, tuple[str, str]] = {
    "random": (
        "Cases drawn at random",
        "Drawn without a look at their values. So few do not show what to expect: the figures do.",
    ),
    "best": (
        "Best cases",
        "The findings with the best values of the primary endpoint, as a mean over the methods. They were chosen for "
        "their values, so they show what the methods can do, and not what they do.",
    ),
    "worst": (
        "Worst cases",
        "The findings with the worst values of the primary endpoint, as a mean over the methods. They were chosen for "
        "their values.",
    ),
    "without a finding": (
        "Images without a finding",
        "There is nothing to find: every map has a maximum all the same, since it is scaled to its own.",
    ),
}


@dataclass(frozen=True)
class Shown:
    """A case with its image of a method: ``small`` is a thumbnail as a data URI, ``path`` the file, "" if not there."""

    example: Example
    path: str
    small: Markup


@dataclass(frozen=True)
class Case:
    """A case with its image of each method."""

    name: str
    label: str
    text: str
    shown: Sequence[Shown]


@dataclass(frozen=True)
class Chosen:
    """Cases that were chosen in one way."""

    title: str
    how: str
    cases: Sequence[Case]


def examples(evaluation: Evaluation, folder: Path) -> list[Chosen]:
    """The cases by how they were chosen, those drawn at random first: the others are no basis for a judgement."""
    kinds = dict.fromkeys([*_CHOSEN, *(one.kind for one in evaluation.examples)])
    shown = evaluation.examples[:MOST]
    found = []
    for kind in kinds:
        each = _cases([one for one in shown if one.kind == kind], folder)
        title, how = _CHOSEN.get(kind, (kind, ""))
        found += [Chosen(title, how, each)] if each else []
    return found


def _cases(each: Sequence[Example], folder: Path) -> list[Case]:
    """The examples of a case beside each other, one a method: they follow each other."""
    alike = groupby(each, key=lambda one: (one.name, one.label, one.text))
    return [Case(*about, [_shown(one, folder) for one in own]) for about, own in alike]


def _shown(example: Example, folder: Path) -> Shown:
    path = "" if example.file is None or not _is_inside(folder, example.file) else example.file
    return Shown(example, path, _small(folder / path) if path else Markup())


def _is_inside(folder: Path, file: str) -> bool:
    """Whether a file is a regular one in the report's folder: what is elsewhere is neither read nor linked to."""
    parts = PurePosixPath(file).parts
    if not parts or ".." in parts or PurePosixPath(file).is_absolute() or "\0" in file:
        return False
    try:
        whole = (folder / file).resolve()
    except OSError:
        return False
    return is_regular(folder / file) and whole.is_relative_to(folder.resolve())


def _small(path: Path) -> Markup:
    """A thumbnail as a data URI: the one that the file holds, or one that is made; "" where it cannot be read."""
    try:
        found = read_thumbnail(path) or _made(path)
    except (OSError, ValueError, SyntaxError, Pillow.DecompressionBombError):
        return Markup()
    return _data_uri(found, "image/jpeg") if found else Markup()


def _made(path: Path) -> bytes:
    if path.stat().st_size > _MAX_BYTES:
        return b""
    with Pillow.open(io.BytesIO(path.read_bytes()), formats=("PNG", "JPEG")) as image:
        if image.width * image.height > _MAX_PIXELS:
            return b""
        return thumbnail(image.convert("RGB"), image.size, _SIDE)


def _data_uri(content: bytes, kind: str) -> Markup:
    return Markup(f"data:{kind};base64,{base64.b64encode(content).decode()}")  # noqa: S704  # letters of base64
