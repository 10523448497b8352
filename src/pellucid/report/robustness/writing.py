"""Writes the page of a ``Robustness`` and its figures into a folder, all or nothing."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from pellucid.report.evaluation.figures.drawing import Drawn
from pellucid.report.evaluation.writing import PAGE, check_writable, write_page
from pellucid.report.robustness.figures import answers, hits, likeness
from pellucid.report.robustness.page import page
from pellucid.robustness.plan import WITHIN
from pellucid.robustness.result import Robustness

_DRAWN: dict[str, Callable[[Robustness], Drawn | None]] = {
    "answers": answers,
    "maps": partial(likeness, label=WITHIN),
    "hits": hits,
}
_FILES = tuple(f"{name}.{kind}" for name in _DRAWN for kind in ("svg", "png"))


def write_robustness(found: Robustness, folder: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
    """Write ``report.html`` and ``figures/*`` of a result into a folder, and return the page's path.

    The page holds its figures, has no script, and loads nothing from elsewhere. Figures are SVG and PNG files, for
    other documents. Equal results make equal files. Either all files are written, or none.

    Raises:
        OutputExistsError: a file of such a name exists and ``overwrite`` is false.
        WriteError: the folder cannot be written to, or ``figures`` is no folder of its own.
    """
    folder = Path(folder)
    check_writable(folder, overwrite)
    each = {name: draw(found) for name, draw in _DRAWN.items()}
    figures: dict[str, Drawn] = {name: one for name, one in each.items() if one is not None}
    files = {name: content for one in figures.values() for name, content in one.files.items()}
    write_page(folder, page(found, figures), files, _FILES, overwrite)
    return folder / PAGE
