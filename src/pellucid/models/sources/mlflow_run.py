"""``runs:/run id/path``: a file, folder or model among the artifacts of a run of MLflow."""

from __future__ import annotations

from pellucid.models.mlflow_artifacts.names import RUNS
from pellucid.models.mlflow_artifacts.source import MlflowSource

SOURCE = MlflowSource(RUNS)
