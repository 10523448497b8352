"""The layers of a network that have weights of their own, in the order in which a pass uses them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.core.inputs import Inputs
from pellucid.core.torch_private import FunctionMode
from pellucid.errors import SourceError
from pellucid.models.session.cache import remembered
from pellucid.models.session.randomised import learned
from pellucid.models.session.session import Session


def weighted_layers(session: Session, inputs: Inputs) -> tuple[str, ...]:
    """The modules with weights of their own that take part in a pass, in the order of their first use.

    Weights are parameters, and the running statistics of norms. The network itself, "", is one of them where it has
    some, such as a class token. Weights that several modules share count as the first one's.

    Raises:
        SourceError: the network has none that could be exchanged.
    """
    return remembered(session.model, ("weighted layers", session.key(inputs)), lambda: _used(session, inputs[:1]))


def owners(network: nn.Module) -> dict[int, str]:
    """The module that owns each of the weights, by the weight's id: the first one's name where several share it."""
    found: dict[int, str] = {}
    for name, module in network.named_modules():
        for tensor in learned(module).values():
            found.setdefault(id(tensor), name)
    return found


def _used(session: Session, image: Inputs) -> tuple[str, ...]:
    if session.has_script or session.is_quantised:
        kind = "TorchScript" if session.has_script else "quantised"
        raise SourceError(
            f"random weights were asked for; the model is {kind}, and its weights cannot be exchanged: give the "
            "nn.Module that it was made from"
        )
    session.known(image)  # its own first pass, with modes of its own, is over
    with torch.no_grad(), _Uses(session.network) as uses:
        session.call(image)
    if not uses.order:
        raise SourceError(
            "random weights were asked for; the model computes with no parameters: there are none to draw"
        )
    return tuple(uses.order)


class _Uses(FunctionMode):
    """While this is open, the functions that get a weight of a network are noted, by the module that owns it.

    Modules do not tell: some never run, as those whose weights torch's attention takes for itself, and a network that
    owns a class token ends after all others.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self._owners = owners(network)
        self.order: dict[str, None] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Torch's hook for every function that is called."""
        output = func(*args, **(kwargs or {}))
        if _has_tensor(output):  # else it asks for the weight's shape or type only
            self._note((*args, *(kwargs or {}).values()))
        return output

    def _note(self, values: Iterable[Any]) -> None:
        for value in values:
            if isinstance(value, (tuple, list)):
                self._note(value)
            elif id(value) in self._owners:
                self.order.setdefault(self._owners[id(value)])


def _has_tensor(value: object) -> bool:
    return isinstance(value, Tensor) or (isinstance(value, (tuple, list)) and any(map(_has_tensor, value)))
