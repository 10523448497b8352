"""Read the weights of a model that MLflow keeps: of a whole network, too, and without running any of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from pellucid.errors import CheckpointError
from pellucid.models.checkpoints.converting import network_in
from pellucid.models.checkpoints.layouts import architectures, find_state, networks
from pellucid.models.checkpoints.modules import weights_of
from pellucid.models.checkpoints.reading import Checkpoint, read_content
from pellucid.models.checkpoints.stated import stated_in
from pellucid.models.checkpoints.stated_classes import classes_in
from pellucid.models.checkpoints.stated_head import find_head
from pellucid.models.mlflow_artifacts.bounds import DEFAULT, Bounds
from pellucid.models.mlflow_artifacts.choosing import GRAPH
from pellucid.models.mlflow_artifacts.fetching import Fetched, located


def read(uri: str, key: str | None = None, bounds: Bounds = DEFAULT) -> Checkpoint | None:
    """Return the weights of what ``models:/…`` or ``runs:/…`` names; None of an ONNX graph, which holds its own.

    ``key`` as in ``read_checkpoint``. What the file does not state of architecture, images and classes is taken from
    the model's metadata, the logged parameters and the signature.

    Raises:
        SourceError, TransferError: as ``located`` does.
        CheckpointError: the file is broken, unsafe, or holds no weights.
    """
    with located(uri, bounds) as place:
        return None if place.ending == GRAPH else _checkpoint(place.fetched(), key)


def _checkpoint(file: Fetched, key: str | None) -> Checkpoint:
    content = read_content(file.path, script=True)
    state = _state(content, file, key)
    plain = [(content, dict(file.origin)["file"].rpartition("/")[2]), *file.settings]
    stated = [name for each, _ in plain for name in architectures(each)]
    return Checkpoint(
        state,
        next(iter(stated), None),
        Path(file.uri),
        stated_in(plain, 3 if any(tensor.ndim == 5 for tensor in state.values()) else 2),
        next((head for each, _ in plain if (head := find_head(each))), None),
        next((names for each, _ in plain if (names := classes_in(each))), frozenset()),
        tuple(stated[1:]),
        registered=file.uri,
        sha256=file.sha256,
        origin=file.origin,
    )


def _state(content: Any, file: Fetched, key: str | None) -> dict[str, Tensor]:
    """The weights in a file: a state dict, or those of a pickled network, or of a TorchScript archive."""
    _, network = network_in(content)
    if network is None or networks(content):
        return find_state(content, file.path, key)
    found = weights_of(network, file.path).state
    if not found:
        raise CheckpointError(
            f"{file.uri}: a network was expected, got a pickled object ({network.asked[:80]!r}) without weights where "
            "a network has them; log its state_dict() with mlflow.pytorch.log_state_dict"
        )
    return found
