"""The options of commands that say what is written, and how it is drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pellucid.cli.completing import several_of
from pellucid.cli.console import OUTPUT_PANEL

Output = Annotated[
    Path, typer.Option("--output", "-o", help="Folder to write the results to.", rich_help_panel=OUTPUT_PANEL)
]
Export = Annotated[
    str,
    typer.Option(
        help="Formats to write, separated by commas: {formats}. Some need DICOM inputs.",
        rich_help_panel=OUTPUT_PANEL,
        autocompletion=several_of("formats"),
    ),
]
Table = Annotated[
    str,
    typer.Option(
        help="Table of all maps in the output folder, beside its page: {tables}, separated by commas.",
        rich_help_panel=OUTPUT_PANEL,
    ),
]
Page = Annotated[
    bool,
    typer.Option(
        "--page/--no-page",
        help="Write a page and a table of all results in the output folder.",
        rich_help_panel=OUTPUT_PANEL,
    ),
]
Report = Annotated[bool, typer.Option("--report/--no-report", help="Write report.html.", rich_help_panel=OUTPUT_PANEL)]
Alpha = Annotated[float, typer.Option(help="Overlay opacity, 0 to 1.", rich_help_panel=OUTPUT_PANEL)]
Colormap = Annotated[str, typer.Option(help="Colour map of matplotlib.", rich_help_panel=OUTPUT_PANEL)]
Signed = Annotated[
    bool,
    typer.Option(
        "--signed",
        help="Draw evidence against the class, too: red for, blue against. Not of every method.",
        rich_help_panel=OUTPUT_PANEL,
    ),
]
Overwrite = Annotated[
    bool,
    typer.Option(
        "--overwrite",
        help="Explain every image anew, and replace its earlier results as a whole.",
        rich_help_panel=OUTPUT_PANEL,
    ),
]
KeepIdentity = Annotated[
    bool,
    typer.Option(
        "--keep-identity",
        help="Name the patient and study of DICOM files in the metadata.",
        rich_help_panel=OUTPUT_PANEL,
    ),
]
AllowSegWithoutGeometry = Annotated[
    bool,
    typer.Option(
        "--allow-seg-without-geometry",
        help="Also write seg of images without a position in the patient. Viewers may fail on it.",
        rich_help_panel=OUTPUT_PANEL,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of the table.", rich_help_panel=OUTPUT_PANEL)]
Quiet = Annotated[
    bool,
    typer.Option("--quiet", "-q", help="Show neither a progress bar nor the table.", rich_help_panel=OUTPUT_PANEL),
]
