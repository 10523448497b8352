"""``MlflowSource``: the source of models that MLflow keeps."""

from __future__ import annotations

from dataclasses import replace
from weakref import WeakKeyDictionary

from torch import nn

from pellucid.errors import SourceError
from pellucid.models.checkpoints.reading import Checkpoint
from pellucid.models.mlflow_artifacts.fetching import located
from pellucid.models.mlflow_artifacts.graph import Beside, with_settings
from pellucid.models.mlflow_artifacts.reading import read
from pellucid.models.sources.base import ModelInfo, ModelRequest
from pellucid.models.sources.onnx import SOURCE as ONNX
from pellucid.models.sources.onnx import graph_model


class MlflowSource:
    """Models on a server, in a database or in a folder of MLflow's. Nothing that they bring along is run.

    A class with a ``prefix`` is one of its kinds of names.
    """

    prefix: str
    brings_weights = True

    def __init__(self) -> None:
        self._graphs: WeakKeyDictionary[nn.Module, ModelInfo] = WeakKeyDictionary()

    def checkpoint(self, name: str, key: str | None) -> Checkpoint | None:
        """Read the weights of a model; None of an ONNX graph, which ``build`` makes.

        Raises:
            SourceError: no such model, version, alias, run or file, or several files may be meant.
            TransferError: the server cannot be reached, refuses, or sends more than it should.
            CheckpointError: the file is broken, unsafe, or holds no weights.
        """
        return read(self._uri(name), key)

    def outline(self, request: ModelRequest) -> nn.Module:
        """Refuse: there is nothing to load weights into."""
        raise SourceError(f"{self._uri(request.name)} has its own weights; leave out the checkpoint")

    def build(self, request: ModelRequest) -> nn.Module:
        """Load an ONNX graph; of all other models ``checkpoint`` reads the weights. ``SourceError``: as there."""
        with located(self._uri(request.name)) as place:
            if request.num_classes is not None:
                raise SourceError(f"{place.stored.uri}: a graph's number of classes is fixed; leave out num_classes")
            file = place.fetched()
            model = graph_model(file.path, Beside(place))
            known = with_settings(ONNX.info(request, model), model, file.settings)
        self._graphs[model] = replace(known, weights="checkpoint", registered=file.uri, origin=file.origin)
        return model

    def info(self, _request: ModelRequest, model: nn.Module) -> ModelInfo:
        """Return what is known of a graph: what is stated of it, its digest, and where it is from."""
        return self._graphs.get(model, ModelInfo())

    def _uri(self, name: str) -> str:
        return f"{self.prefix}:{name}".replace("\\", "/")  # a Path on Windows turns the slashes
