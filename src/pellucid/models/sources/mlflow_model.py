"""``models:/name/3``, ``models:/name@alias``, ``models:/m-…``: a model of MLflow's registry, or one that was logged."""

from __future__ import annotations

from pellucid.models.mlflow_artifacts.source import MlflowSource


class MlflowModel(MlflowSource):
    """Models that are registered with MLflow, or that a run logged."""

    prefix = "models"


SOURCE = MlflowModel()
