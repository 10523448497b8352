"""Random weights for a layer, drawn as its type initialises them, from numbers of their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.models.session.randomness import OwnRandomness
from pellucid.models.session.twin import twin

_RESETS = ("reset_parameters", "_reset_parameters")
"""What torch's modules and those of others call their initialisation."""
_STATISTICS = {"running_mean": 0.0, "running_var": 1.0}
"""A norm's running statistics, and their values before any training."""


def learned(module: nn.Module) -> dict[str, Tensor]:
    """What a module itself has learned, by name: its own parameters, and a norm's running statistics."""
    parameters = {name: one for name, one in module._parameters.items() if one is not None}
    buffers = {name: one for name, one in module._buffers.items() if one is not None and name in _STATISTICS}
    return {name: one for name, one in {**parameters, **buffers}.items() if _is_plain(one)}


def redrawn(module: nn.Module, seed: int) -> dict[int, Tensor]:
    """Random values for what a module itself has learned, by the ids of its tensors. The module is left alone.

    They are what its ``reset_parameters`` makes. A parameter that this does not write, such as a class token, is drawn
    from the normal distribution with the mean and standard deviation of its learned values; running statistics become
    0 and 1. Numbers are drawn in float32 on the CPU: they are the same on every device.
    """
    own = learned(module)
    with torch.no_grad(), OwnRandomness(seed) as numbers:
        made = _reset(module)
        source = numbers.of(torch.device("cpu"))
        return {id(old): _like(old, _drawn(name, made, old, source)) for name, old in own.items()}


def _reset(module: nn.Module) -> dict[str, Tensor]:
    """A module's own tensors after its initialisation, with NaN in what that does not write; none without one."""
    name = next((name for name in _RESETS if callable(getattr(module, name, None))), None)
    if name is None:
        return {}
    copied: Any = twin(module, {id(tensor): _blank(tensor) for tensor in _held(module)})
    with suppress(Exception):  # the module's own code, which may need what it had when it was made
        getattr(copied, name)()
    return learned(copied)


def _held(module: nn.Module) -> Iterator[Tensor]:
    """All tensors that a module and those within it hold: an initialisation may write into any of them."""
    for one in module.modules():
        held = chain(one._parameters.values(), one._buffers.values(), vars(one).values())
        yield from (value for value in held if isinstance(value, Tensor))


def _is_plain(tensor: Tensor) -> bool:
    """Whether a tensor is nothing but its values, and can be drawn."""
    return type(tensor) in (Tensor, nn.Parameter) and tensor.is_floating_point() and not tensor.is_meta


def _blank(tensor: Tensor) -> Tensor:
    """A tensor of the CPU in place of this one, full of NaN: what an initialisation writes is then known."""
    if not _is_plain(tensor):
        return tensor.detach().clone()
    values = torch.full(tensor.shape, torch.nan)
    return nn.Parameter(values, False) if isinstance(tensor, nn.Parameter) else values


def _drawn(name: str, made: Mapping[str, Tensor], old: Tensor, generator: torch.Generator) -> Tensor:
    """What an initialisation made of a tensor; where it did not write all of it, constants or normal numbers."""
    found = made.get(name)
    if found is not None and found.shape == old.shape and bool(found.isfinite().all()):
        return found
    if name in _STATISTICS:
        return torch.full(old.shape, _STATISTICS[name])
    values = old.detach().float().cpu()
    return torch.randn(values.shape, generator=generator) * values.std(correction=0) + values.mean()


def _like(old: Tensor, values: Tensor) -> Tensor:
    """Values with the device, precision, memory format and kind of a tensor."""
    new = torch.empty_like(old, requires_grad=False).copy_(values)
    return nn.Parameter(new, old.requires_grad) if isinstance(old, nn.Parameter) else new
