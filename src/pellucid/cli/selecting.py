"""The options of commands that choose images among those of a folder or file, and say how to read them."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pellucid.cli.completing import among, pairs_of
from pellucid.errors import OptionError

if TYPE_CHECKING:
    from pellucid.run.inputs import Input

INPUT_PANEL = "Inputs"


class SliceMode(Enum):
    """How the slices of a DICOM series are explained."""

    auto = "auto"
    files = "files"
    volume = "volume"
    sequence = "sequence"


Inputs = Annotated[
    list[str],
    typer.Argument(
        metavar="INPUT",
        help="Image or volume files, folders of them, studies on a server, or - for standard input.",
    ),
]
Labels = Annotated[
    Path | None,
    typer.Option(
        help="CSV file with the columns path and label, and also patient and split, for the metadata. Paths are "
        "relative to it or to an input folder; several labels of an image are separated by semicolons.",
        rich_help_panel=INPUT_PANEL,
    ),
]
Series = Annotated[
    str | None,
    typer.Option(
        metavar="UID",
        help="SeriesInstanceUID of the series to explain, or its number in each folder (default: all).",
        rich_help_panel=INPUT_PANEL,
    ),
]
Select = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=VALUE",
        help="Which of several images at the same positions to explain, such as time=2; names are {dimensions}. "
        "Repeat for several.",
        rich_help_panel=INPUT_PANEL,
        autocompletion=pairs_of("dimensions"),
    ),
]
Window = Annotated[
    str | None,
    typer.Option(
        metavar="CENTRE,WIDTH",
        help="Window of DICOM and NIfTI values; for CT also {windows}.",
        rich_help_panel=INPUT_PANEL,
        autocompletion=among("windows"),
    ),
]
Frame = Annotated[
    int | None,
    typer.Option(min=1, help="Number of the frame to explain, in files with several.", rich_help_panel=INPUT_PANEL),
]
As = Annotated[
    SliceMode,
    typer.Option(
        "--as",
        help="Explain the slices of a series as one volume, the images of a folder as one sequence (views, time "
        "points), each file alone, or as fits the model.",
        rich_help_panel=INPUT_PANEL,
    ),
]
Download = Annotated[
    Path | None,
    typer.Option(
        help="Folder to keep images from a server in (default: a temporary one).", rich_help_panel=INPUT_PANEL
    ),
]


def check_series(series: str | None, channels: str | None) -> None:
    """Refuse a series of channels in folders of their own; ``channels`` names these, if it does."""
    if series is not None and channels is not None:
        raise OptionError(f"--series and --channels {channels} were given; a channel is a folder: leave out --series")


def of_series(files: list[Input], series: str | None) -> list[Input]:
    """The inputs of a series; all where none is named.

    Raises:
        ImageError: none is of the series.
    """
    from pellucid.run.grouping import in_series

    return files if series is None else in_series(files, series)
