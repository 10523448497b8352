"""Where a model computes: as it is, or a private copy on another device, in another precision or format."""

from __future__ import annotations

import copy
from itertools import chain
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from pellucid.core.runtime import Runtime
from pellucid.errors import OptionError

Stamp = tuple[object, ...]
_Place = tuple[torch.device, torch.dtype, bool]
_COPIES: WeakKeyDictionary[nn.Module, dict[_Place, tuple[Stamp, nn.Module]]] = WeakKeyDictionary()


def reference(model: nn.Module) -> Tensor:
    """A tensor on the model's device, of the model's precision."""
    floating = (tensor for tensor in chain(model.parameters(), model.buffers()) if tensor.is_floating_point())
    return next(floating, torch.zeros(()))


def placed(model: nn.Module, runtime: Runtime) -> nn.Module:
    """The model itself where it already is as the runtime asks, else an up-to-date private copy."""
    own = reference(model)
    device = own.device if runtime.device == "auto" else _full(torch.device(runtime.device))
    dtype = runtime.dtype or own.dtype
    # Inference tensors cannot take part in a graph; a copy's tensors can.
    inference = any(tensor.is_inference() for tensor in _tensors(model))
    if (device, dtype) == (own.device, own.dtype) and not runtime.channels_last and not inference:
        return model
    place = (device, dtype, runtime.channels_last)
    # A user's hook may hold the model: remembered, its copy would keep the model alive.
    hooked = any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    return _copied(model, place) if inference or hooked else _remembered(model, place)


def _full(device: torch.device) -> torch.device:
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return device


def _remembered(model: nn.Module, place: _Place) -> nn.Module:
    now = stamp(model)
    copies = _COPIES.setdefault(model, {})
    if place not in copies or copies[place][0] != now:
        copies[place] = (now, _copied(model, place))
    return copies[place][1]


def _copied(model: nn.Module, place: _Place) -> nn.Module:
    device, dtype, channels_last = place
    # Results of an earlier pass that the model keeps have a graph, and only leaves can be copied.
    kept = [value for module in model.modules() for value in vars(module).values() if isinstance(value, Tensor)]
    memo = {id(tensor): tensor.detach().clone() for tensor in kept if not tensor.is_leaf}
    try:
        twin = copy.deepcopy(model, memo).to(device=device, dtype=dtype)
        return twin.to(memory_format=_channels_last(twin)) if channels_last else twin
    except (RuntimeError, TypeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise OptionError(
            f"a runtime other than the model's own was asked for; the model cannot be copied to {place} ({reason}): "
            f"move it there yourself"
        ) from error


def _channels_last(model: nn.Module) -> torch.memory_format:
    volumes = any(parameter.ndim == 5 for parameter in model.parameters())
    return torch.channels_last_3d if volumes else torch.channels_last


def stamp(model: nn.Module) -> Stamp:
    """What changes when the model does: its modules, and every tensor's place, version and a few values.

    A write through ``.data`` leaves place and version as they are, but hardly any tensor's values.
    """
    tensors = _tensors(model)
    samples = [tensor.detach().flatten()[:: max(1, tensor.numel() // 8)][:8].double() for tensor in tensors]
    values = torch.cat(samples).cpu().tolist() if samples else []
    places = [(tensor.data_ptr(), tensor._version) for tensor in tensors]
    return tuple(id(module) for module in model.modules()), tuple(places), tuple(map(repr, values))


def _tensors(model: nn.Module) -> list[Tensor]:
    return [*model.parameters(), *model.buffers()]
