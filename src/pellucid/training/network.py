"""Which network within a module that trains it is explained."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from torch import nn

from pellucid.errors import OptionError, did_you_mean


class NetworkOf:
    """Finds the network in a LightningModule; ``forward``: that of a class without one of its own.

    The LightningModule itself is explained by a shallow copy without its trainer, which shares all modules: what
    explains a module copies what refers to it, and a trainer refers to loaders, loggers and callbacks. It is the same
    copy each time, since what is known of a network is kept for the object.
    """

    def __init__(self, forward: Callable[..., Any], name: str | None = None) -> None:
        self._forward = forward
        self._name = name
        self._copy: nn.Module | None = None

    def __call__(self, module: nn.Module) -> nn.Module:
        """The network.

        Raises:
            OptionError: there is none of this name, or it is not certain which one is meant.
        """
        if self._name is not None:
            return _named(module, self._name)
        if type(module).forward is not self._forward:
            return self._alone(module)
        with_parameters = {name: one for name, one in module.named_children() if any(True for _ in one.parameters())}
        if len(with_parameters) != 1:
            known = ", ".join(with_parameters) or "none"
            raise OptionError(
                f"the network of {type(module).__name__} was looked for; it has no forward, and of its modules "
                f"{known} have parameters: give network= with the name of one"
            )
        return next(iter(with_parameters.values()))

    def _alone(self, module: nn.Module) -> nn.Module:
        now = copy.copy(module)  # as it is pickled: without its trainer
        if self._copy is None or type(self._copy) is not type(module):
            self._copy = now
        vars(self._copy).update(vars(now))
        return self._copy


def _named(module: nn.Module, name: str) -> nn.Module:
    known: dict[str, nn.Module] = dict(module.named_modules())
    if name not in known:
        hint = did_you_mean(name, known)
        raise OptionError(f"network {name!r} was asked for; {type(module).__name__} has no such module{hint}")
    return known[name]
