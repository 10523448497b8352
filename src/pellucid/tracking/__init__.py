"""Runs beside the training: explanations, figures and reports in MLflow, TensorBoard and Weights & Biases.

>>> tracker = mlflow("http://mlflow.example.org", run_name="vindr")  # doctest: +SKIP
>>> log_explanation(explanation, images, tracker=tracker)  # doctest: +SKIP
>>> tracker.close()  # doctest: +SKIP
"""

from pellucid.tracking.destination import Connection, Destination, Stamp, register_destination
from pellucid.tracking.explanations import log_explanation
from pellucid.tracking.loggers import trackers_of
from pellucid.tracking.starting import mlflow, tensorboard, wandb
from pellucid.tracking.tracker import Parameter, Tracker

__all__ = [
    "Connection",
    "Destination",
    "Parameter",
    "Stamp",
    "Tracker",
    "log_explanation",
    "mlflow",
    "register_destination",
    "tensorboard",
    "trackers_of",
    "wandb",
]
