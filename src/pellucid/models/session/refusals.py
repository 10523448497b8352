"""An image whose channels or axes a network does not take, found in the pass that torch refuses."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from pellucid.core.functions import CONVOLUTIONS, bound
from pellucid.core.torch_private import CONVOLUTION, FunctionMode
from pellucid.errors import ShapeError

_TRANSPOSED = frozenset((F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d))
_LAYERS = frozenset((*CONVOLUTIONS, F.linear, F.batch_norm, F.layer_norm, F.group_norm, F.instance_norm))
_GROUPS = 6
"""The position of the number of groups among a convolution's arguments."""
_CHANNELS = re.compile(r"expected input\[([\d, ]+)\] to have (\d+) channels, but got")
_AXES = re.compile(
    r"Expected \dD \(unbatched\) or (\d)D \(batched\) input to conv\dd, but got input of size: \[([\d, ]+)\]"
)
_PREPARED = (1, 3)
"""The channels that ``Preprocessing`` makes of a grey or an RGB image."""
_SPACE = {1: "L", 2: "H, W", 3: "D, H, W"}


@dataclass(frozen=True)
class _Takes:
    """What a convolution takes: a number of channels (None: not known), and a number of axes of space."""

    channels: int | None
    rank: int
    name: str = ""

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether it takes a batch of this shape."""
        return len(shape) == self.rank + 2 and self.channels in (None, shape[1])

    def __str__(self) -> str:
        named = f", {self.name!r}," if self.name else ""
        channels = "C" if self.channels is None else self.channels
        return f"the model's first convolution{named} takes (B, {channels}, {_SPACE[self.rank]})"


class RefusalMode(FunctionMode):
    """While this is open, what torch raises before the first layer of a network has run is kept, and of what it was."""

    def __init__(self) -> None:
        super().__init__()
        self._ran: set[Any] = set()
        self._error: RuntimeError | None = None
        self._given: tuple[int, ...] | None = None
        self._takes: _Takes | None = None
        self._weight: Tensor | None = None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Torch's hook for every function that is called."""
        named = kwargs or {}
        try:
            output = func(*args, **named)
        except RuntimeError as error:
            self._note(error, func, args, named)
            raise
        if func in _LAYERS:
            self._ran.add(func)
        return output

    def _note(self, error: RuntimeError, func: Any, args: Any, named: Any) -> None:
        """Keep an error of torch's, unless a layer ran before; of a convolution, unless another one did."""
        before = self._ran & CONVOLUTIONS if func in CONVOLUTIONS else self._ran
        if type(error) is not RuntimeError or before:
            return
        self._error = error
        if func in CONVOLUTIONS:
            call = bound(func, args, named)
            given, self._weight = call["input"], call.get("weight", args[1] if len(args) > 1 else None)
            self._given = tuple(given.shape)
            if self._weight is not None:
                groups = named.get("groups", args[_GROUPS] if len(args) > _GROUPS else 1)
                own = self._weight.shape
                channels = own[0] if func in _TRANSPOSED else own[1] * groups
                self._takes = _Takes(int(channels), len(own) - 2)

    def refused(self, error: RuntimeError, network: nn.Module, images: Tensor) -> ShapeError | None:
        """The error of one line for images (B, …) whose shape torch refused with this error; None for any other."""
        shape, is_own, self._error = tuple(images.shape), error is self._error, None  # its traceback holds this
        if not is_own:
            return None
        if self._given is None:
            takes = _first_of(network)
            return None if takes is None or takes.fits(shape) else _refused(shape, takes, shape)
        if self._takes is None or self._takes.fits(self._given):
            return None
        name = next((name for name, one in _convolutions(network) if one.weight is self._weight), "")
        return _refused(shape, _Takes(self._takes.channels, self._takes.rank, name), self._given)


@contextmanager
def refusals(network: nn.Module, images: Tensor, has_script: bool) -> Iterator[None]:
    """Raise ``ShapeError`` from torch's error where images (B, …) have channels or axes that a network does not take.

    All other errors of the network pass as they are.
    """
    mode = RefusalMode()
    try:
        with nullcontext() if has_script else mode:
            yield
    except RuntimeError as error:
        found = _scripted(error, images) if has_script else mode.refused(error, network, images)
        if found is None:
            raise
        raise found from error


def _scripted(error: RuntimeError, images: Tensor) -> ShapeError | None:
    """The same for TorchScript, of which nothing is known but torch's message: that names the shape that came."""
    shape, text = tuple(images.shape), str(error)
    channels, axes = _CHANNELS.search(text), _AXES.search(text)
    if channels is not None and _shape(channels[1]) == shape:
        return _refused(shape, _Takes(int(channels[2]), len(shape) - 2), shape)
    if axes is not None and _shape(axes[2]) == shape:
        return _refused(shape, _Takes(None, int(axes[1]) - 2), shape)
    return None


def _refused(shape: tuple[int, ...], takes: _Takes, given: tuple[int, ...]) -> ShapeError:
    got = "" if given == shape else f" and got {given}"
    if len(given) == takes.rank + 2 and takes.channels in _PREPARED:
        cure = f"prepare it with channels={takes.channels}"
    elif len(given) == takes.rank + 2:
        cure = "give an image of that many channels"
    elif len(given) > takes.rank + 2:
        cure = "give the slices of a volume as images of their own, or take a model of volumes"
    else:
        cure = "give volumes, or take a model of 2-D images"
    return ShapeError(f"images of shape {shape[1:]} were given; {takes}{got}: {cure}")


def _convolutions(network: nn.Module) -> list[tuple[str, Any]]:
    return [(name, module) for name, module in network.named_modules() if isinstance(module, CONVOLUTION)]


def _first_of(network: nn.Module) -> _Takes | None:
    """What the first of a network's convolutions takes, in the order of its modules."""
    first = next(iter(_convolutions(network)), None)
    return None if first is None else _Takes(first[1].in_channels, len(first[1].kernel_size), first[0])


def _shape(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))
