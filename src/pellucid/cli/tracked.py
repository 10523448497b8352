"""``--mlflow``: the option of commands whose results are also logged to MLflow, and what it does."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pellucid.cli.console import complain

if TYPE_CHECKING:
    from torch import nn

    from pellucid.tracking import Tracker

DEFAULT = "default"
"""The word for where MLflow logs without being told."""
_SILENT = "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"

MLflow = Annotated[
    str | None,
    typer.Option(
        "--mlflow",
        metavar="URI",
        help="Also log to MLflow at this address, or 'default': MLFLOW_TRACKING_URI. The results on the disk are whole "
        "whatever the server does.",
        rich_help_panel="Output",
    ),
]


def check_mlflow(uri: str | None) -> None:
    """Raise ``MissingPackageError`` before any work where a run is to be logged and MLflow is not installed."""
    if uri is not None:
        from pellucid.tracking.destinations.mlflow import address, check_usable

        check_usable(address(None if uri == DEFAULT else uri), "--mlflow")


def log_to_mlflow(
    uri: str | None, folder: Path, command: str, model: nn.Module | None, log: Callable[[Tracker], object]
) -> None:
    """Log a command's results to a run; warn where a server does not take them. Nothing where no address was given."""
    if uri is None:
        return
    import warnings

    from pellucid.errors import PellucidError
    from pellucid.tracking import mlflow
    from pellucid.tracking.results import FOLDER

    with warnings.catch_warnings(record=True) as caught, silent_mlflow():
        warnings.simplefilter("always")
        try:
            tracker = mlflow(
                None if uri == DEFAULT else uri,
                run_name=f"pellucid {command}",
                folder=folder / FOLDER,
                model_id=_model_id(model),
            )
            try:
                log(tracker)
            finally:
                tracker.close()
        except PellucidError as error:  # the results themselves are there
            complain(f"warning: {error}")
    for warning in caught:
        complain(f"warning: {warning.message}")


@contextmanager
def silent_mlflow() -> Iterator[None]:
    """MLflow's client prints addresses to the standard output, which is the command's own."""
    before = os.environ.get(_SILENT)
    os.environ[_SILENT] = "true"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_SILENT]
        else:
            os.environ[_SILENT] = before


def _model_id(model: nn.Module | None) -> str | None:
    """The id of the logged model that a model was read from, by whatever name; None of any other."""
    from pellucid.models.sources import model_info

    return None if model is None else dict(model_info(model).origin).get("model_id")
