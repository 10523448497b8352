"""The options of commands that name a model and say how to read its outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pellucid.cli.completing import among, models

MODEL_PANEL = "Model"
_SPEC = (
    "Model: {sources}, path/to/file.py:factory, package.module:factory or path/to/model.onnx; a registry's NAME is "
    "FOLDER/KEY@VERSION; of MLflow models:/NAME/3, models:/NAME@ALIAS and runs:/ID/PATH are read."
)
Spec = Annotated[str, typer.Argument(metavar="MODEL", help=_SPEC, autocompletion=models)]
OptionalSpec = Annotated[
    str | None,
    typer.Argument(
        metavar="MODEL",
        help=f"{_SPEC} Left out, the checkpoint's architecture is recognised.",
        autocompletion=models,
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        help=f"{_SPEC} Left out, the checkpoint's architecture is recognised.",
        rich_help_panel=MODEL_PANEL,
        autocompletion=models,
    ),
]
Checkpoint = Annotated[
    Path | None, typer.Option(help="Weights file to load, or a name of MLflow's.", rich_help_panel=MODEL_PANEL)
]
WeightsKey = Annotated[
    str | None,
    typer.Option(
        metavar="KEY",
        help="Which of several networks in the checkpoint: the key or prefix of its weights, such as model_ema.",
        rich_help_panel=MODEL_PANEL,
    ),
]
Activation = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="What is between the linear layers of the checkpoint's head, which weights do not show: {activations} "
        "(default: relu, with a warning).",
        rich_help_panel=MODEL_PANEL,
        autocompletion=among("activations"),
    ),
]
Weights = Annotated[
    str,
    typer.Option(
        help="Weights, if no checkpoint is given: {weights}. `default` downloads pretrained ones, `none` draws random "
        "ones.",
        rich_help_panel=MODEL_PANEL,
        autocompletion=among("weights"),
    ),
]
Classes = Annotated[
    Path | None,
    typer.Option(help="File with the class names: one per line, or a JSON list.", rich_help_panel=MODEL_PANEL),
]
_HEAD = "How to read the model's outputs: auto, {heads}"
NamedHead = Annotated[
    str | None,
    typer.Option(
        "--head",
        help=f"{_HEAD} (default: auto).",
        rich_help_panel=MODEL_PANEL,
        autocompletion=among("heads", "auto"),
    ),
]
"""Of a command that takes what is not named from a version's settings."""
Head = Annotated[
    str,
    typer.Option(
        help=f"{_HEAD}.",
        rich_help_panel=MODEL_PANEL,
        autocompletion=among("heads", "auto"),
    ),
]
ModelOutput = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="Which of several tensors that the model returns holds the class scores, by name or position.",
        rich_help_panel=MODEL_PANEL,
    ),
]
