"""What happens in a forward pass: which module finished when, with what output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from pellucid.core.probe import Images
from pellucid.models.engine.capture import first_tensor

_PER_SHAPE: WeakKeyDictionary[nn.Module, dict[tuple[tuple[int, ...], ...], Trace]] = WeakKeyDictionary()


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

    def note(self, name: str, module: nn.Module, output: object) -> None:
        """A module finished."""
        self.runs[name] = self.runs.get(name, 0) + 1
        tensor = first_tensor(output)
        if tensor is None:
            return
        self.shapes.pop(name, None)
        self.shapes[name] = tuple(tensor.shape)
        if isinstance(module, _ConvNd):
            self.first_convolution = self.first_convolution or name
            grid = tuple(tensor.shape[2:])
            if grid not in self.grids:
                self.grids.append(grid)


def explained(images: Images) -> Tensor:
    """The tensor that is explained: the images, or the first of a mapping."""
    return next(iter(images.values())) if isinstance(images, Mapping) else images


def one_image(images: Images) -> Images:
    """The first image of a batch."""
    if isinstance(images, Mapping):
        return {name: tensor[:1] for name, tensor in images.items()}
    return images[:1]


def remembered(model: nn.Module) -> dict[tuple[tuple[int, ...], ...], Trace]:
    """The traces of a model, by the input's shapes; gone when the model is."""
    return _PER_SHAPE.setdefault(model, {})


def shape_key(images: Images) -> tuple[tuple[int, ...], ...]:
    """What tells inputs of different shapes apart, whatever their batch size."""
    tensors = images.values() if isinstance(images, Mapping) else (images,)
    return tuple(tuple(tensor.shape[1:]) for tensor in tensors)
