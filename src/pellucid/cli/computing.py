"""The options of commands that say where and how to compute."""

from __future__ import annotations

from typing import Annotated

import typer

from pellucid.cli.completing import among, devices

RUNTIME_PANEL = "Computation"
Device = Annotated[
    str,
    typer.Option(
        help="Device to compute on: auto, gpu, cpu, cuda or another device of torch.",
        rich_help_panel=RUNTIME_PANEL,
        autocompletion=devices,
    ),
]
BatchSize = Annotated[
    int | None,
    typer.Option(help="Batch size (default: 8 on CPU, 32 on GPU).", rich_help_panel=RUNTIME_PANEL),
]
Precision = Annotated[
    str | None,
    typer.Option(
        help="Precision: {precisions} (default: the model's own).",
        rich_help_panel=RUNTIME_PANEL,
        autocompletion=among("precisions"),
    ),
]
Fast = Annotated[
    bool,
    typer.Option(
        "--fast", help="Use the settings that `pellucid tune` measured as fastest.", rich_help_panel=RUNTIME_PANEL
    ),
]
