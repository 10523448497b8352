"""The options of commands that choose images among those of a folder or file: a series, a time point, an echo."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pellucid.errors import OptionError

if TYPE_CHECKING:
    from pellucid.run.inputs import Input

INPUT_PANEL = "Inputs"
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
    from pellucid.run.inputs import in_series

    return files if series is None else in_series(files, series)
