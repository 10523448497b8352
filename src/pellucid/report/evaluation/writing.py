"""Writes the report of an evaluation into a folder: the page and its figures, all or nothing."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path

from pellucid.errors import OutputExistsError, WriteError
from pellucid.evaluation.evaluation import Evaluation
from pellucid.export.writing import write
from pellucid.report.evaluation.figures.curves import calibration, overlap, roc
from pellucid.report.evaluation.figures.drawing import Drawn
from pellucid.report.evaluation.figures.forest import forest
from pellucid.report.evaluation.page import page
from pellucid.report.reading import is_regular

PAGE = "report.html"
FIGURES = "figures"
_DRAWN = {"primary": forest, "roc": roc, "calibration": calibration, "overlap": overlap}
_FILES = tuple(f"{name}.{kind}" for name in _DRAWN for kind in ("svg", "png"))


def write_report(evaluation: Evaluation, folder: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
    """Write ``report.html`` and ``figures/*`` of an evaluation into a folder, and return the page's path.

    The page holds its figures and thumbnails, has no script, and loads nothing from elsewhere; the images of the
    examples, whose files are relative to the folder, are linked where they are there. Figures are SVG and PNG files,
    for other documents. Equal evaluations make equal files. Either all files are written, or none.

    Raises:
        OutputExistsError: a file of such a name exists and ``overwrite`` is false.
        WriteError: the folder cannot be written to, or ``figures`` is no folder of its own.

    >>> from pellucid.evaluation.evaluation import Evaluation, Flow
    >>> from pellucid.evaluation.plan import EvaluationPlan
    >>> nothing = Flow(given=0, excluded={}, images=0, findings=0, lesion_free=0, patients=0)
    >>> empty = Evaluation(EvaluationPlan(), False, "", nothing, quality=[], primary="pointing_game", rows=[])
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as name:
    ...     write_report(empty, Path(name)).name
    'report.html'
    """
    folder = Path(folder)
    check_writable(folder, overwrite)
    figures = _figures(evaluation)
    content = page(evaluation, figures, folder)
    files = {name: found for figure in figures.values() for name, found in figure.files.items()}
    write_page(folder, content, files, _FILES, overwrite)
    return folder / PAGE


def _figures(evaluation: Evaluation) -> dict[str, Drawn]:
    found = {name: draw(evaluation) for name, draw in _DRAWN.items()}
    return {name: figure for name, figure in found.items() if figure is not None}


def write_page(
    folder: Path, content: bytes, files: Mapping[str, bytes], names: Collection[str], overwrite: bool
) -> None:
    """Write a page and its figures; where the page cannot be written, the figures are as they were.

    ``names`` are those of all figures that there may be: those of an earlier page are replaced, and nothing else.

    Raises:
        OutputExistsError: a file of such a name exists and ``overwrite`` is false.
        WriteError: the folder cannot be written to.
    """
    beside = folder / FIGURES
    was_there = beside.is_dir()
    before = {name: (beside / name).read_bytes() for name in names if is_regular(beside / name)}
    if files or (before and overwrite):
        write(beside, files, overwrite, lambda: before if overwrite else ())
    try:
        write(folder, {PAGE: content}, overwrite)
    except BaseException:
        if beside.is_dir():
            write(beside, before, True, lambda: files)
        if not was_there:
            with suppress(OSError):
                beside.rmdir()
        raise


def check_writable(folder: Path, overwrite: bool) -> None:
    """Raise unless a page and its figures can be written: ``WriteError``, or ``OutputExistsError`` of the page."""
    beside = folder / FIGURES
    if os.path.lexists(beside) and (beside.is_symlink() or not beside.is_dir()):
        raise WriteError(f"{beside}: the figures cannot be written there, it is no folder of its own: move it away")
    if os.path.lexists(folder / PAGE) and not overwrite:
        raise OutputExistsError(f"{folder / PAGE} is already there: remove it, or replace it with overwrite=True")
