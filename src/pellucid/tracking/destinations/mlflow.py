"""MLflow: runs, their parameters, figures, images and files; figures also on the page of the explained model."""

from __future__ import annotations

import os
import random
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self, TypeVar
from uuid import UUID, uuid5

from PIL import Image

from pellucid.core.addresses import without_credentials
from pellucid.core.optional import OptionalPackage
from pellucid.errors import MissingPackageError
from pellucid.tracking.destination import Destination, Stamp, is_logger, register_destination
from pellucid.tracking.transfers import transfers

MLFLOW = OptionalPackage("mlflow", "track")
EXPERIMENT = "pellucid"
"""The experiment of runs for which none is named."""
RUN_TAG, PARENT_TAG, IMAGES_TAG = "pellucid.run", "mlflow.parentRunId", "mlflow.loggedImages"
_MOST_PARAMETERS, _MOST_METRICS, _LONGEST_VALUE, _LONGEST_KEY = 100, 1000, 6000, 250
"""What MLflow takes in one request, and in one value."""
_THUMBNAIL = 256
"""Longest side of the small copy of an image that MLflow's pages show in a grid."""
_DATABASES = ("sqlite", "mysql", "postgresql", "mssql")
T = TypeVar("T")


@register_destination("mlflow")
@dataclass(frozen=True)
class MLflow(Destination):
    """An MLflow server or store, and the experiment; with a logger, its run is continued and not ended.

    ``uri`` "" is where MLflow logs without being told. ``model_id`` is the id of a logged model (``m-…``) whose page
    shows the figures, too. ``continued`` is the id of a run that others began and end.
    """

    uri: str = ""
    experiment: str = ""
    model_id: str = ""
    continued: str = ""
    logger: Any = field(default=None, repr=False, compare=False)

    @property
    def where(self) -> str:
        """The address without a password."""
        return without_credentials(self.uri) or "MLflow"

    def facts(self) -> Mapping[str, str]:
        """The address without a password, the experiment, the model, and the run that is continued."""
        facts = {"uri": without_credentials(self.uri), "experiment": self.experiment, "model_id": self.model_id}
        return facts | {"continued": self.continued} if self.continued else facts

    @classmethod
    def remade(cls, facts: Mapping[str, str]) -> Self:
        """The same address and experiment."""
        return cls(facts["uri"], facts["experiment"], facts["model_id"], facts.get("continued", ""))

    @classmethod
    def takes(cls, logger: object) -> Self | None:
        """Go on with the run of Lightning's ``MLFlowLogger``."""
        if not is_logger(logger, "MLFlowLogger"):
            return None
        uri, experiment = (str(getattr(logger, name, "")) for name in ("_tracking_uri", "_experiment_name"))
        # The id of a run that Lightning has not created yet is not known: to ask for it would wait for the server.
        return cls(uri, experiment, "", str(getattr(logger, "_run_id", None) or ""), logger)

    def connect(self) -> Runs:
        """Import MLflow, and make its client, which sends nothing yet."""
        with transfers(self.where):
            MLFLOW.load("a run in MLflow")
            from mlflow import MlflowClient

            _leave_random_numbers_alone()
            client = self.logger.experiment if self.logger is not None else MlflowClient(self.uri or None)
            return Runs(client, self)


def _leave_random_numbers_alone() -> None:
    """Let MLflow's retries draw how long they wait from a generator of their own.

    They take Python's, which is the training's: out of reach of a server, our thread would draw from it at any moment.
    """
    for name in ("mlflow.utils.request_utils", "urllib3.util.retry"):
        names = vars(import_module(name))
        if names.get("random") is random:
            names["random"] = random.Random()  # noqa: S311 - a pause, no secret


def address(uri: str | None) -> str:
    """The address to log to: the one given, or MLflow's own setting; "" is its default. MLflow is not imported."""
    mlflow = sys.modules.get("mlflow")
    if uri is None and mlflow is not None:
        return str(mlflow.get_tracking_uri())
    return (uri or os.environ.get("MLFLOW_TRACKING_URI") or "").rstrip("/")


def check_usable(uri: str, purpose: str) -> None:
    """Raise ``MissingPackageError`` unless MLflow is installed, and what it needs for a database as the address."""
    MLFLOW.check(purpose)
    if uri.partition(":")[0].partition("+")[0] in _DATABASES and find_spec("sqlalchemy") is None:
        raise MissingPackageError(
            f"{purpose} was asked for, in {without_credentials(uri)}; a database needs the whole of MLflow, which is "
            "not installed: pip install mlflow, or give the address of a server"
        )


class Runs:
    """The runs at one address."""

    def __init__(self, client: Any, destination: MLflow) -> None:
        self._client, self._to = client, destination
        self._models: dict[str, str | None] = {}

    def begin(self, at: Stamp, name: str, parent: str | None) -> str:
        """The run with our tag; a new one if there is none. Of a logger, the outermost run is its own."""
        with transfers(self._to.where):
            if parent is None and (self._to.continued or self._to.logger is not None):
                return self._to.continued or str(self._to.logger.run_id)
            experiment = self._experiment(parent)
            found = self._tagged(at.run, experiment)
            if found:
                return found[0]
            tags = {RUN_TAG: at.run} | ({} if parent is None else {PARENT_TAG: parent})
            return str(self._client.create_run(experiment, at.time, tags, name).info.run_id)

    def parameters(self, run: str, values: Mapping[str, str | int | float | bool]) -> None:
        """Add parameters."""
        with transfers(self._to.where):
            from mlflow.entities import Param

            found = [Param(key_of(name), str(value)[:_LONGEST_VALUE]) for name, value in values.items()]
            for some in _chunks(found, _MOST_PARAMETERS):
                self._client.log_batch(run, params=some)

    def metrics(self, run: str, values: Mapping[str, float], step: int, at: Stamp) -> None:
        """Add figures to the run, and to the page of its model. The same time makes the same figure one row."""
        with transfers(self._to.where):
            from mlflow.entities import Metric

            model = self._model()
            of_model = {} if model is None else {"model_id": model, "run_id": run}
            found = [Metric(key_of(name), value, at.time, step, **of_model) for name, value in values.items()]
            for some in _chunks(found, _MOST_METRICS):
                self._client.log_batch(run, metrics=some)

    def image(self, run: str, key: str, path: Path, step: int, at: Stamp) -> None:
        """Add an image and its small copy, under the names by which MLflow's pages find them.

        MLflow's own ``log_image`` draws a random number into the name: an image that is sent again would be another.
        """
        drawn = uuid5(UUID(hex=at.run), str(at.number))
        name = f"{key_of(key).replace('/', '~')}+step+{step}+timestamp+{at.time}+{drawn}"
        with transfers(self._to.where), tempfile.TemporaryDirectory() as folder:
            small = Path(folder) / "small.webp"
            with Image.open(path) as image:
                image.thumbnail((_THUMBNAIL, _THUMBNAIL))
                image.save(small)
            self._upload(run, path, f"{name}.png", "images")
            self._upload(run, small, f"{name}+compressed.webp", "images")
            self._client.set_tag(run, IMAGES_TAG, True)

    def file(self, run: str, path: Path, name: str, folder: str) -> None:
        """Add a file."""
        with transfers(self._to.where):
            self._upload(run, path, name, folder or None)

    def end(self, run: str, status: str, at: Stamp) -> None:
        """End a run. Another with its tag is one that a server made late, of a request that was made again: removed."""
        with transfers(self._to.where):
            if self._is_continued(run):
                return
            experiment = self._client.get_run(run).info.experiment_id
            for other in set(self._tagged(at.run, experiment)) - {run}:
                self._client.delete_run(other)
            self._client.set_terminated(run, status, at.time)

    def _is_continued(self, run: str) -> bool:
        """Whether others began a run, who end it: it has no tag of ours. Also where it is synced much later."""
        return RUN_TAG not in self._client.get_run(run).data.tags

    def _tagged(self, run: str, experiment: str) -> Sequence[str]:
        found = self._client.search_runs([experiment], f"tags.`{RUN_TAG}` = '{run}'", max_results=100)
        return [one.info.run_id for one in sorted(found, key=lambda one: (one.info.start_time, one.info.run_id))]

    def _experiment(self, parent: str | None) -> str:
        """The id of the experiment, which is made if there is none of the name."""
        if parent is not None:
            return str(self._client.get_run(parent).info.experiment_id)
        stated = os.environ.get("MLFLOW_EXPERIMENT_ID", "")
        if stated and not self._to.experiment:
            return stated
        name = self._to.experiment or os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
        found = self._client.get_experiment_by_name(name)
        return str(self._client.create_experiment(name) if found is None else found.experiment_id)

    def _model(self) -> str | None:
        """The id of the explained model, if the address knows it."""
        asked = self._to.model_id
        if asked and asked not in self._models:
            self._models[asked] = asked if self._knows(asked) else None
        return self._models.get(asked)

    def _knows(self, model: str) -> bool:
        from mlflow.exceptions import MlflowException

        try:
            self._client.get_logged_model(model)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return False
        return True

    def _upload(self, run: str, path: Path, name: str, folder: str | None) -> None:
        with tempfile.TemporaryDirectory() as held:
            shutil.copyfile(path, Path(held) / name)
            self._client.log_artifact(run, str(Path(held) / name), folder)


def key_of(name: str) -> str:
    """A name with the characters that MLflow allows in keys: a plus is spelled out, others become underscores.

    >>> key_of("case-3/gradcam++")
    'case-3/gradcamplusplus'
    """
    return re.sub(r"[^\w\-./ ]", "_", name.replace("+", "plus"), flags=re.ASCII)[:_LONGEST_KEY]


def _chunks(values: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]
