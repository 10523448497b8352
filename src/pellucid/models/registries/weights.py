"""A model's weights for a registry, and what its architecture is called."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

from pellucid.errors import CheckpointError, message_of
from pellucid.models.checkpoints.converting import packed

_WRAPPERS = ("module", "_orig_mod")
"""The names under which DataParallel and torch.compile hold a network."""
_COMPILED = "_orig_mod"
_LIGHTNING = "LightningModule"


def network_of(model: nn.Module) -> nn.Module:
    """Return the network inside torch's wrappers and a LightningModule of one network; else the model itself."""
    inner = next(_inner(model), None)
    return model if inner is None else network_of(inner)


def _inner(model: nn.Module) -> Iterator[nn.Module]:
    parts = [(name, part) for name, part in model.named_children() if part.state_dict(keep_vars=True)]
    whole = len(parts) == 1 and len(parts[0][1].state_dict(keep_vars=True)) == len(model.state_dict(keep_vars=True))
    if whole and (parts[0][0] in _WRAPPERS or any(cls.__name__ == _LIGHTNING for cls in type(model).__mro__)):
        yield parts[0][1]


def safetensors_of(network: nn.Module) -> bytes:
    """Return the weights of a network as a safetensors file, without the names of compiled parts' wrappers.

    Raises:
        CheckpointError: it has none, or some that the format has no form for.
    """
    try:
        state = {_plain(name): value for name, value in network.state_dict().items() if isinstance(value, Tensor)}
        if not state or any(value.is_meta for value in state.values()):
            raise CheckpointError(f"a {type(network).__name__} was to be saved, which has no weights: load them first")
        return packed({name: value.detach().cpu() for name, value in state.items()})
    except CheckpointError:
        raise
    except Exception as error:  # of the user's own code, or of the format
        raise CheckpointError(
            f"the weights of a {type(network).__name__} cannot be saved ({message_of(error)}): save a network of plain "
            "tensors"
        ) from error


def _plain(name: str) -> str:
    return ".".join(part for part in name.split(".") if part != _COMPILED)


def class_name(network: nn.Module) -> str:
    """What a network of an unknown source is called."""
    return type(network).__name__
