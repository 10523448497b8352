"""Find the weights in a pickled network, whose modules are stand-ins with the states that they were given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from pellucid.errors import CheckpointError
from pellucid.models.checkpoints.rebuilding import Inert

PARTS = ("_parameters", "_buffers", "_modules")
LISTS = "torch.jit._pickle."
"""How a scripted module writes lists of numbers."""
MOST = 100_000  # modules and weights of one network
DEEPEST = 100
LONGEST = 1_000  # letters of a weight's name


@dataclass
class Found:
    """The weights of a network by their names in its state dict, and what else holds tensors, which is left out."""

    state: dict[str, Tensor] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    seen: int = 0


def weights_of(network: Inert, path: Path) -> Found:
    """Return the weights of a pickled module, or of one from a TorchScript archive, and of its submodules.

    ``CheckpointError``: there are more than any network has, or a module contains itself.
    """
    found = Found()
    if not _collect(network, "", 0, found):
        raise CheckpointError(
            f"{path}: a network was expected, got modules that are more, or deeper in one another, than any network's; "
            "save model.state_dict()"
        )
    return found


def _collect(module: Inert, prefix: str, depth: int, found: Found) -> bool:
    """Add a module's weights; whether it is within the bounds."""
    transient = module.state.get("_non_persistent_buffers_set")
    members = _members(module.state)
    for name, each in members.items():
        found.seen += 1
        if found.seen > MOST or depth > DEEPEST or len(prefix) + len(name) > LONGEST:
            return False
        if isinstance(each, Inert) and each.state:
            if not _collect(each, f"{prefix}{name}.", depth + 1, found):
                return False
        elif isinstance(each, Tensor) and not (isinstance(transient, set) and name in transient):
            found.state[prefix + name] = each.detach()
        elif _holds_tensors(each) or (isinstance(each, Inert) and not each.asked.startswith(LISTS)):
            found.left_out.append(prefix + name)
    for name, each in module.state.items():
        if isinstance(name, str) and name not in (*members, *PARTS) and _holds_tensors(each):
            found.left_out.append(prefix + name)
    return True


def _members(state: Mapping[str, object]) -> dict[str, object]:
    """The parameters, buffers and submodules of a module; a scripted one has them beside one another."""
    parts = [part for name in PARTS if isinstance(part := state.get(name), Mapping)]
    return {name: each for part in parts or [state] for name, each in part.items() if isinstance(name, str)}


def _holds_tensors(each: object) -> bool:
    """Whether an attribute is a tensor or a collection of some: it is no parameter, so that no state dict has it."""
    held = each.values() if isinstance(each, Mapping) else each if isinstance(each, list | tuple) else (each,)
    return any(isinstance(one, Tensor) for one in held)
