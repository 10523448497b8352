"""Starts runs: in MLflow, in TensorBoard, in Weights & Biases."""

from __future__ import annotations

from pathlib import Path

from pellucid.tracking.destinations.mlflow import MLflow, address, check_usable
from pellucid.tracking.destinations.tensorboard import TENSORBOARD, TensorBoard
from pellucid.tracking.destinations.wandb import WANDB, WeightsAndBiases
from pellucid.tracking.journaled import JournaledRun, journaled

FOLDER = "pellucid-runs"
"""The folder of the journals, where none is given."""
NAME = "pellucid"


def mlflow(
    uri: str | None = None,
    *,
    experiment: str | None = None,
    run_name: str = NAME,
    folder: Path | str = FOLDER,
    model_id: str | None = None,
) -> JournaledRun:
    """Start a run in MLflow, that of a server or of a store (``sqlite:///…``).

    It is written to a new folder below ``folder`` first, and sent from there by a thread. ``uri`` None is what MLflow
    would use: ``mlflow.set_tracking_uri``, ``MLFLOW_TRACKING_URI``, or its default; the experiment likewise, and
    "pellucid" if none is stated. ``model_id``: the logged model (``m-…``) whose page shows the figures, too.

    Raises:
        MissingPackageError: MLflow is not installed, or not what it needs for a database.
        WriteError: nothing can be written to the folder.
    """
    place = address(uri)
    check_usable(place, "a run in MLflow")
    return journaled(folder, run_name, [MLflow(place, experiment or "", model_id or "")])


def tensorboard(folder: Path | str, *, journal: Path | str = FOLDER) -> JournaledRun:
    """Start a run in TensorBoard: an event file in ``folder``. It shows images and figures, and no files.

    Raises:
        MissingPackageError: TensorBoard is not installed.
        WriteError: nothing can be written to the folder of the journal.
    """
    TENSORBOARD.check("a run in TensorBoard")
    return journaled(journal, NAME, [TensorBoard(str(folder))])


def wandb(
    project: str = NAME, *, entity: str | None = None, run_name: str = NAME, folder: Path | str = FOLDER
) -> JournaledRun:
    """Start a run in Weights & Biases, whose package keeps a copy of its own in ``folder``.

    Raises:
        MissingPackageError: its package is not installed (``pip install wandb``).
        WriteError: nothing can be written to the folder.
    """
    WANDB.check("a run in Weights & Biases")
    return journaled(folder, run_name, [WeightsAndBiases(project, entity or "", str(folder))])
