"""Take the weights out of a file that holds a whole network, without running code from it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from pellucid.errors import CheckpointError, message_of
from pellucid.models.checkpoints.layouts import USUAL, find_state
from pellucid.models.checkpoints.modules import Found, weights_of
from pellucid.models.checkpoints.reading import check_file, read_content
from pellucid.models.checkpoints.rebuilding import Inert
from pellucid.models.checkpoints.refusals import unconvertible


def take_out(path: Path) -> Found:
    """Return the weights in a file of any kind that is read, also those in a pickled network or a TorchScript archive.

    ``CheckpointError``: the file is broken, hostile, or holds no weights that can be taken out.
    """
    check_file(path)
    content = read_content(path, script=True)
    key, network = network_in(content)
    if network is None:
        return _plain(content, path)
    found = weights_of(network, path)
    if not found.state:
        raise unconvertible(network, path, key)
    found.left_out.extend(_named(content, {key}))
    return found


def network_in(content: Any) -> tuple[str | None, Inert | None]:
    """Return the pickled network in a file, and the key that it is under."""
    if isinstance(content, Inert):
        return None, content
    entries = content if isinstance(content, Mapping) else {}
    return next(((key, entries[key]) for key in USUAL if isinstance(entries.get(key), Inert)), (None, None))


def _plain(content: Any, path: Path) -> Found:
    """Return the weights of a file without a pickled network, as they are loaded."""
    state = find_state(content, path)
    held = {id(content)} | {id(each) for each in state.values()}
    others = [key for key in _named(content, set()) if id(content[key]) not in held]
    return Found(state, [key for key in others if not _holds(content[key], state)])


def _holds(entry: Any, state: Mapping[str, Tensor]) -> bool:
    """Whether an entry is a weight, or the mapping that the weights are in."""
    if isinstance(entry, Tensor):
        return True
    return isinstance(entry, Mapping) and any(isinstance(entry.get(name), Tensor) for name in state)


def _named(content: Any, but: set[str | None]) -> list[str]:
    return [key for key in content if isinstance(key, str) and key not in but] if isinstance(content, Mapping) else []


def as_safetensors(state: Mapping[str, Tensor], path: Path) -> bytes:
    """Return a safetensors file of the weights of ``path``. ``CheckpointError``: it has no form for some weight."""
    try:
        return packed(state)
    except Exception as error:
        raise CheckpointError(
            f"{path}: the format safetensors cannot hold these weights ({message_of(error)}); give checkpoint= a file "
            "that torch.save(model.state_dict(), …) wrote"
        ) from error


def packed(state: Mapping[str, Tensor]) -> bytes:
    """Return a safetensors file of weights; those that share memory are written once for each name."""
    from safetensors.torch import save

    seen: set[int] = set()
    return bytes(save({name: _own(value, seen) for name, value in state.items()}, metadata={"format": "pt"}))


def _own(value: Tensor, seen: set[int]) -> Tensor:
    """Return a weight with memory of its own: the format has no two names for the same bytes."""
    memory = value.untyped_storage()
    whole = value.is_contiguous() and memory.nbytes() == value.nbytes and memory.data_ptr() not in seen
    seen.add(memory.data_ptr())
    return value if whole else value.contiguous().clone()
