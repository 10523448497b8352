"""``runs:/run id/path``: a file, a folder or a model among the artifacts of a run of MLflow."""

from __future__ import annotations

from pellucid.models.mlflow_artifacts.source import MlflowSource


class MlflowRun(MlflowSource):
    """What a run logged."""

    prefix = "runs"


SOURCE = MlflowRun()
