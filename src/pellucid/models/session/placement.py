"""The network where and how the runtime asks: a twin of the model, its tensors on another device or in a precision."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

import torch
from torch import Tensor, nn

from pellucid.core.runtime import Runtime
from pellucid.errors import OptionError
from pellucid.models.session.cache import remembered_while
from pellucid.models.session.twin import aliases, own_tensors, twin

Stamp = tuple[object, ...]
_Place = tuple[torch.device, torch.dtype, bool]


def reference(model: nn.Module) -> Tensor:
    """A tensor on the model's device, of the model's precision."""
    floating = (tensor for tensor in chain(model.parameters(), model.buffers()) if tensor.is_floating_point())
    return next(floating, torch.zeros(()))


def device_of(model: nn.Module, runtime: Runtime) -> torch.device:
    """The device on which the runtime computes."""
    return reference(model).device if runtime.device == "auto" else torch.device(runtime.device)


def network_of(model: nn.Module, runtime: Runtime) -> nn.Module:
    """A network of separate modules that computes what the model does, on the runtime's device and in its precision."""
    tensors = own_tensors(model)
    own = reference(model)
    device = own.device if runtime.device == "auto" else _full(torch.device(runtime.device))
    dtype = runtime.dtype or own.dtype
    # Inference tensors cannot take part in a graph; copies can.
    inference = any(tensor.is_inference() for tensor in tensors)
    if (device, dtype) == (own.device, own.dtype) and not runtime.channels_last and not inference:
        return twin(model, aliases(tensors))
    return twin(model, _tensors_placed(model, (device, dtype, runtime.channels_last)))


def _full(device: torch.device) -> torch.device:
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return device


def _tensors_placed(model: nn.Module, place: _Place) -> dict[int, Tensor]:
    """Copies of the model's tensors for another runtime, by the id of the originals; renewed when the model changes."""
    moved = remembered_while(model, ("placement", place), stamp(model), lambda: _moved(model, place))
    return {id(tensor): moved[name] for name, tensor in _named(model).items()}


def _moved(model: nn.Module, place: _Place) -> dict[str, Tensor]:
    device, dtype, channels_last = place
    tensors = own_tensors(model)
    own = aliases(tensor for tensor in tensors if not tensor.is_inference())
    own |= {id(tensor): _copied(tensor) for tensor in tensors if tensor.is_inference()}
    try:
        network = twin(model, own).to(device=device, dtype=dtype)
        if channels_last:
            network = network.to(memory_format=_channels_last(network))
    except (RuntimeError, TypeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise OptionError(
            f"a runtime other than the model's own was asked for; the model cannot be copied to {place} ({reason}): "
            f"move it there yourself"
        ) from error
    return _named(network)


def _copied(tensor: Tensor) -> Tensor:
    copied = tensor.detach().clone()
    return nn.Parameter(copied, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else copied


def _named(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by all of their names."""
    named = chain(model.named_parameters(remove_duplicate=False), model.named_buffers(remove_duplicate=False))
    return dict(named)


def _channels_last(model: nn.Module) -> torch.memory_format:
    volumes = any(parameter.ndim == 5 for parameter in model.parameters())
    return torch.channels_last_3d if volumes else torch.channels_last


def stamp(model: nn.Module) -> Stamp:
    """A value that changes when the model does: its modules, and every tensor's address, version and a few values.

    A write through ``.data`` changes neither address nor version, but nearly always some of the sampled values.
    """
    tensors = own_tensors(model)
    samples = [tensor.detach().flatten()[:: max(1, tensor.numel() // 8)][:8].double() for tensor in tensors]
    values = torch.cat(samples).cpu().tolist() if samples else []
    return tuple(id(module) for module in model.modules()), written(tensors), tuple(map(repr, values))


def written(tensors: Iterable[Tensor]) -> Stamp:
    """A value that changes when one of the tensors is written into or exchanged: their addresses and versions."""
    # Inference tensors have no version.
    return tuple((one.data_ptr(), None if one.is_inference() else one._version) for one in tensors)
