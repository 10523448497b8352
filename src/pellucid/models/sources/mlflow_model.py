"""``models:/name/3``, ``models:/name@alias``, ``models:/m-…``: a model of MLflow's registry, or one that was logged."""

from __future__ import annotations

from pellucid.models.mlflow_artifacts.names import MODELS
from pellucid.models.mlflow_artifacts.source import MlflowSource

SOURCE = MlflowSource(MODELS)
