"""Read a weights file without running code from it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from pellucid.errors import CheckpointError, message_of
from pellucid.models.checkpoints.layouts import find_architecture, find_state
from pellucid.models.checkpoints.refusals import (
    ADAPTER,
    SHARDS,
    adapter,
    few,
    folder,
    foreign,
)
from pellucid.models.checkpoints.saved import read_saved
from pellucid.models.checkpoints.stated import Stated, find_preprocessing, json_object
from pellucid.models.checkpoints.stated_classes import Names, find_classes
from pellucid.models.checkpoints.stated_head import find_head
from pellucid.models.preprocessing import Preprocessing

LONGEST_START = 64


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The weights of a file by their names there; what it states of architecture, preprocessing, head and classes.

    ``others`` are more names that are stated for the architecture. ``prepared`` is the whole preprocessing, and
    ``assumed`` what of it is assumed, where a registry keeps it, as ``activation`` is that of the head;
    ``registered`` is its name there. ``sha256`` is the file's digest, where the file is gone, and ``origin`` where it
    was fetched from.
    """

    state: dict[str, Tensor]
    architecture: str | None
    path: Path
    preprocessing: Stated = field(default_factory=Stated)
    head: str | None = None
    classes: frozenset[Names] = frozenset()
    others: tuple[str, ...] = ()
    prepared: Preprocessing | None = None
    assumed: tuple[str, ...] = ()
    activation: str | None = None
    registered: str | None = None
    sha256: str | None = None
    origin: tuple[tuple[str, str], ...] = ()


def read_checkpoint(path: str | os.PathLike[str], key: str | None = None) -> Checkpoint:
    """Read a ``.pt``, ``.pth``, ``.ckpt``, ``.bin`` or ``.safetensors`` file; no code from it runs.

    Of several networks in the file, ``key`` is the one that is read: the key or prefix that its weights are under.
    Plain settings beside the weights are read; objects (an optimiser's state, NumPy scalars) are skipped.
    ``CheckpointError``: the file is missing, broken, unsafe, or holds no weights.
    """
    path = Path(path)
    check_file(path)
    content = _shards(path) if path.name.endswith(SHARDS) else read_content(path)
    state = find_state(content, path, key)
    rank = 3 if any(tensor.ndim == 5 for tensor in state.values()) else 2
    preprocessing = find_preprocessing(content, path, rank)
    return Checkpoint(
        state, find_architecture(content), path, preprocessing, find_head(content), find_classes(content, path)
    )


def check_file(path: Path) -> None:
    """``CheckpointError``: there is no file, or one that holds no network's weights."""
    if path.name == ADAPTER or (path / ADAPTER).is_file():
        raise adapter(path, ADAPTER)
    if path.is_dir():
        raise folder(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: a weights file was expected, got nothing there; give the path of a file")


def _shards(path: Path) -> dict[str, Any]:
    """Read the files that an index lists, which are beside it."""
    listed = json_object(path).get("weight_map")
    names = set(listed.values()) if isinstance(listed, Mapping) and all(map(_is_text, listed.values())) else set()
    if not names or any(Path(name).name != name for name in names):
        raise CheckpointError(f"{path}: an index of weights files was expected, got other content; give a weights file")
    if missing := sorted(name for name in names if not (path.parent / name).is_file()):
        raise CheckpointError(
            f"{path}: it lists {len(missing)} files that are not beside it ({few(missing)}); copy them there"
        )
    parts = [read_content(path.parent / name) for name in sorted(names)]
    return {key: value for part in parts if isinstance(part, Mapping) for key, value in part.items()}


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def read_content(path: Path, script: bool = False) -> Any:
    """Return what is in a file. ``script``: also what is in a TorchScript archive, but for its code."""
    # Any error that a broken or hostile file causes in the readers is reported as a broken file.
    try:
        if path.suffix.lower() == ".safetensors":
            return _read_safetensors(path)
        with path.open("rb") as file:
            problem = foreign(path, file.read(LONGEST_START))
        if problem is not None:
            raise problem
        return read_saved(path, script)
    except CheckpointError:
        raise
    except Exception as error:
        raise CheckpointError(
            f"{path}: weights could not be read ({message_of(error)}); save the file again"
        ) from error


def _read_safetensors(path: Path) -> Any:
    from safetensors.torch import load_file

    return load_file(path, device="cpu")
