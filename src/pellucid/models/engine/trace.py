"""What happens in a forward pass: which module finished when, with what output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from pellucid.core.inputs import Images
from pellucid.models.engine.capture import first_tensor

Key = tuple[object, ...]
_PER_SHAPE: WeakKeyDictionary[nn.Module, dict[Key, Trace]] = WeakKeyDictionary()


@dataclass
class Trace:
    """One image's pass. Names and shapes only: a trace keeps no tensor and no module alive."""

    channels: int
    size: tuple[int, ...]
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Each module's output shape with its batch axis, in the order in which the modules finished last."""
    runs: dict[str, int] = field(default_factory=dict)
    grids: list[tuple[int, ...]] = field(default_factory=list)
    """The grids that convolutions made, in order, each once."""
    first_convolution: str | None = None
    answer: tuple[int, ...] = ()
    """The shape of the class scores: (1, C), or of a map of them (1, C, *space)."""
    writes_input: bool = False
    """Whether the network changes its input in place."""
    reads_first_token: bool | None = None
    """Of a network with attention: whether its score is read off the first token. None: not looked yet."""

    def note(self, name: str, module: nn.Module, output: object) -> None:
        """A module finished."""
        self.runs[name] = self.runs.get(name, 0) + 1
        tensor = first_tensor(output)
        if tensor is None:
            return
        self.shapes.pop(name, None)
        self.shapes[name] = tuple(tensor.shape)
        if isinstance(module, _ConvNd) and tensor.ndim == len(self.size) + 2:
            self.first_convolution = self.first_convolution or name
            grid = tuple(tensor.shape[2:])
            if grid not in self.grids:
                self.grids.append(grid)


def written(given: Images, images: Images) -> bool:
    """Whether what a network was given, clones of the images, has been written into.

    A write through ``.data`` leaves the version as it is, one that changes no value of this image the values.
    """
    pairs = zip(_tensors(given), _tensors(images), strict=True)
    return any(new._version > 0 or not torch.equal(new, old) for new, old in pairs)


def _tensors(images: Images) -> list[Tensor]:
    return list(images.values()) if isinstance(images, Mapping) else [images]


def remembered(model: nn.Module) -> dict[Key, Trace]:
    """The traces of a model, by what they depend on; gone when the model is."""
    return _PER_SHAPE.setdefault(model, {})


def key_of(model: nn.Module, images: Images) -> Key:
    """What a trace depends on: the model's structure, and the inputs' names and shapes but for the batch."""
    named = images.items() if isinstance(images, Mapping) else [("", images)]
    # With its type, since a new module may get the identity of one that is gone.
    modules = tuple((name, id(module), type(module)) for name, module in model.named_modules())
    sizes = tuple(parameter.shape for parameter in model.parameters())
    return hash((modules, sizes)), tuple((name, tuple(tensor.shape[1:])) for name, tensor in named)
