"""Whether the maps of one network with random weights are maps at all: what can be told without knowing the truth."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

import pellucid
from pellucid.core.inputs import Inputs
from pellucid.core.runtime import Runtime
from pellucid.models.discovery.profile import layout_of, profile_of
from pellucid.models.engine import Pass
from pellucid.models.session.session import Session
from pellucid.models.session.thread_state import kept

CLASSES = 20
NEEDED = 2
"""Maps that must show something: with random weights all evidence of some classes is rightly negative."""
_DISTORTION = 1.5
"""How much longer a grid's cells may be one way than the other: a grid is cut to whole cells."""
_SIZES = {2: (3, 224, 224), 3: (1, 64, 64, 64)}
"""What a network is given that states no size, by the axes of its first convolution."""


@dataclass(frozen=True)
class Verdict:
    """What came of one network.

    ``position``: the share of the modules that finish before the layer does; ``seconds``: of the first explanation,
    the search for the layer in it. ``followed``: the picture was changed at nine places, one after the other; at how
    many of them did the layer change most, of all nine? Asked where the layer's output is not channels first, and no
    part of the verdict: attention and gates carry changes elsewhere, in some networks with random weights above all.
    """

    passed: bool
    reason: str = ""
    layer: str = ""
    grid: tuple[int, ...] = ()
    position: float = 0.0
    seconds: float = 0.0
    parameters: int = 0
    followed: int | None = None


def judged(spec: str, method: str = "gradcam") -> Verdict:
    """Build a network with random weights, explain one image of noise for twenty classes, and judge the maps."""
    try:
        model = pellucid.load_model(spec, num_classes=CLASSES)
        return _judged(model, method)
    except Exception as error:  # a network that cannot be built or explained is a row of the table
        return Verdict(False, f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")


def _judged(model: nn.Module, method: str) -> Verdict:
    images = noise(model, 1)
    stirred(model, noise(model, 2))
    start = time.perf_counter()
    found = pellucid.explain(model, images, method=method, targets="all")
    seconds = time.perf_counter() - start
    layer = found.layers[0] if found.layers else ""
    position = place(model, images, layer) if layer else 1.0
    problem = fault(found, position)
    return Verdict(
        problem is None,
        problem or "",
        layer,
        tuple(found.attributions.shape[2:]),
        round(position, 3),
        round(seconds, 2),
        sum(parameter.numel() for parameter in model.parameters()),
        followed(model, images, layer) if layer else None,
    )


def fault(found: pellucid.Explanation, position: float) -> str | None:
    """What is wrong with the maps of one image; None if nothing is."""
    size, grid = tuple(found.heatmaps.shape[2:]), tuple(found.attributions.shape[2:])
    if math.prod(grid) <= 1:
        return f"the grid {grid} has one place"
    if not _is_shaped(grid, size):
        return f"the grid {grid} is not shaped as the input {size}"
    maps = found.heatmaps[0, ~found.degenerate[0]]
    if not maps.isfinite().all():
        return "a map is not finite"
    if len(maps) < NEEDED:
        reasons = sorted({reason for reason in found.why_degenerate[0] if reason})
        return f"{len(maps)} of {found.heatmaps.shape[1]} maps show something; the others: {', '.join(reasons)}"
    if all(torch.allclose(maps[0], other, atol=1e-4) for other in maps[1:]):
        return "the maps of all classes are the same"
    return None if position >= 0.5 else f"the layer is in the first half of the network ({position:.2f})"


def _is_shaped(grid: Sequence[int], size: Sequence[int]) -> bool:
    """Whether a grid's cells are about as long one way as the other; of a volume, time has strides of its own."""
    strides = [side / cells for side, cells in zip(size[-2:], grid[-2:], strict=True)]
    return max(strides) <= _DISTORTION * min(strides)


def place(model: nn.Module, images: Tensor, layer: str) -> float:
    """Which share of the modules that run finish before a layer does, each where it finishes last."""
    order: dict[str, None] = {}

    def teller(name: str) -> Callable[..., None]:
        def tell(*_: object) -> None:
            order.pop(name, None)
            order[name] = None

        return tell

    handles = [module.register_forward_hook(teller(name)) for name, module in model.named_modules()]
    try:
        with torch.no_grad():
            model(images)
    finally:
        for handle in handles:
            handle.remove()
    names = list(order)
    return names.index(layer) / max(1, len(names) - 1)


def followed(model: nn.Module, images: Tensor, layer: str) -> int | None:
    """At how many of nine places of the picture a change is seen most at that place of the layer."""
    return kept(lambda: _followed(Session.of(model, Runtime()), images, layer))


def _followed(session: Session, images: Tensor, layer: str) -> int | None:
    inputs = Inputs.of(images)
    shape, size = profile_of(session, inputs).shapes[layer], images.shape[2:]
    if layout_of(session, inputs, layer, shape).kind == "channels_first":
        return None
    probe = Pass.of(session, images, [layer])

    def output(batch: Tensor) -> Tensor:
        return probe.on(batch).activations()[0, 0]

    before = output(images)
    centres = [(y, x) for y in (1 / 6, 1 / 2, 5 / 6) for x in (1 / 6, 1 / 2, 5 / 6)]
    changes = torch.stack([(output(_changed(images, *centre)) - before).square().sum(0) for centre in centres])
    # What changes wherever the picture does tells of no place.
    changes = changes.flatten(1, -3).sum(1) if changes.ndim > 3 else changes
    changes = changes / changes.mean(0).clamp(min=1e-30)
    return sum(_is_at(change, centre, size[-2:]) for change, centre in zip(changes, centres, strict=True))


def _changed(images: Tensor, y: float, x: float) -> Tensor:
    """An image with other noise, and more of it, in a square of an eighth of its sides."""
    height, width = images.shape[-2:]
    down, across = max(2, height // 16), max(2, width // 16)
    rows, columns = int(y * height), int(x * width)
    part = (..., slice(rows - down, rows + down), slice(columns - across, columns + across))
    changed = images.clone()
    changed[part] = 3 * torch.randn(changed[part].shape, generator=torch.Generator().manual_seed(1))
    return changed


def _is_at(change: Tensor, centre: tuple[float, float], size: Sequence[int]) -> bool:
    """Whether the largest value of a map (rows, columns) lies in the square that was changed, or beside it."""
    place = divmod(int(change.argmax()), change.shape[1])
    pairs = zip(place, centre, change.shape, size, strict=True)
    return all(abs(at + 0.5 - part * cells) <= 1 + max(2, side // 16) / side * cells for at, part, cells, side in pairs)


def stirred(model: nn.Module, images: Tensor) -> None:
    """Give a network that was built to be trained what training would give it: no zero weights, batch statistics.

    Heads and residual branches that begin at zero let nothing through, and the norms of an untrained network
    make its signals vanish; a map of it would rightly be empty.
    """
    source = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                parameter.copy_(0.02 * torch.randn(parameter.shape, generator=source))
        norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
        momenta = [norm.momentum for norm in norms]
        for norm in norms:
            norm.momentum = 1.0
        if norms:
            model.train()(images)
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
    model.eval()


def noise(model: nn.Module, count: int) -> Tensor:
    """Images of noise of the size that the network states, else of a common one."""
    return torch.randn(count, *input_shape(model), generator=torch.Generator().manual_seed(0))


def input_shape(model: nn.Module) -> tuple[int, ...]:
    """The shape of an image (C, *space) that a network takes."""
    if stated := pellucid.model_info(model).input_size:
        return stated
    first = next((m for m in model.modules() if isinstance(m, nn.modules.conv._ConvNd)), None)
    return _SIZES[2] if first is None else (first.in_channels, *_SIZES[len(first.kernel_size)][1:])
