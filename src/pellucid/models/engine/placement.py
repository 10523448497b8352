"""Where a model computes: as it is, or a private copy on another device, in another precision or format."""

from __future__ import annotations

import copy
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from pellucid.core.runtime import Runtime

_Stamp = tuple[tuple[int, int], ...]
_Place = tuple[torch.device, torch.dtype, bool]
_COPIES: WeakKeyDictionary[nn.Module, dict[_Place, tuple[_Stamp, nn.Module]]] = WeakKeyDictionary()


def reference(model: nn.Module) -> Tensor:
    """A tensor on the model's device, of the model's precision."""
    floating = (t for t in (*model.parameters(), *model.buffers()) if t.is_floating_point())
    return next(floating, torch.zeros(()))


def placed(model: nn.Module, runtime: Runtime) -> nn.Module:
    """The model itself where it already is as the runtime asks, else an up-to-date private copy."""
    own = reference(model)
    device = own.device if runtime.device == "auto" else _full(torch.device(runtime.device))
    dtype = runtime.dtype or own.dtype
    # Inference tensors cannot take part in a graph; a copy's tensors can.
    inference = any(p.is_inference() for p in model.parameters())
    if (device, dtype) == (own.device, own.dtype) and not runtime.channels_last and not inference:
        return model
    return _copied(model, (device, dtype, runtime.channels_last))


def _full(device: torch.device) -> torch.device:
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return device


def _copied(model: nn.Module, place: _Place) -> nn.Module:
    stamp = _stamp(model)
    copies = _COPIES.setdefault(model, {})
    if place not in copies or copies[place][0] != stamp:
        device, dtype, channels_last = place
        twin = copy.deepcopy(model).to(device=device, dtype=dtype)
        if channels_last:
            twin = twin.to(memory_format=torch.channels_last)
        copies[place] = (stamp, twin)
    return copies[place][1]


def _stamp(model: nn.Module) -> _Stamp:
    """What changes when the model's values do: every tensor's place in memory and its version."""
    return tuple((t.data_ptr(), _version(t)) for t in (*model.parameters(), *model.buffers()))


def _version(tensor: Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version
