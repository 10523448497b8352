"""The options of ``pellucid explain`` that say what to explain, by which method."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pellucid.cli.completing import among, any_of

METHOD_PANEL = "Method"
Methods = Annotated[
    list[str] | None,
    typer.Option(
        help="Method (default: gradcam), see `pellucid methods`; auto, what `pellucid choose` chose; or a prior to "
        "compare it with, which never asks the model: {priors}. Repeat for several.",
        rich_help_panel=METHOD_PANEL,
        autocompletion=any_of("methods", "priors"),
    ),
]
ChoiceFile = Annotated[
    Path | None,
    typer.Option(
        "--choice",
        metavar="FILE",
        help="Choice that `pellucid choose` wrote, for the method and layer auto (default: what is kept for these "
        "weights).",
        rich_help_panel=METHOD_PANEL,
    ),
]
Options = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Option of the method. Repeat for several.",
        rich_help_panel=METHOD_PANEL,
    ),
]
Targets = Annotated[
    list[str] | None,
    typer.Option(
        help="Class to explain: predicted (default), all, or a class's name or number, counted from 0. Several by "
        "commas, or repeated.",
        rich_help_panel=METHOD_PANEL,
    ),
]
Layers = Annotated[
    list[str] | None,
    typer.Option(
        help="Layer to explain, such as layer4 (default: found automatically), or auto, at which the method was best "
        "when `pellucid choose` measured it. Repeat for several.",
        rich_help_panel=METHOD_PANEL,
    ),
]
Fuse = Annotated[
    str | None,
    typer.Option(
        help="How to combine several layers: {fusions} (default: mean).",
        rich_help_panel=METHOD_PANEL,
        autocompletion=among("fusions"),
    ),
]
Checks = Annotated[
    list[str] | None,
    typer.Option(
        help="Figure to measure beside each map, kept in its metadata: {checks}. Repeat for several.",
        rich_help_panel=METHOD_PANEL,
        autocompletion=among("checks"),
    ),
]
