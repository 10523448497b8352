"""Checks the maps of one network with random weights for plausibility, which needs no ground truth."""

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
from pellucid.models.discovery.places import layout_of
from pellucid.models.discovery.recording import profile_of
from pellucid.models.engine import Pass
from pellucid.models.session.session import Session
from pellucid.models.session.thread_state import kept

CLASSES = 20
NEEDED = 2
"""Maps that must not be empty: with random weights all evidence for some classes is negative, correctly."""
_SHARE = 0.9
"""The share of the score from which on a layer may stand anywhere in the network."""
_DISTORTION = 1.5
"""The largest ratio of a cell's sides: a grid has whole cells, so they need not be square."""
_SIZES = {2: (3, 224, 224), 3: (1, 64, 64, 64)}
"""The image size for networks that state none, by the number of spatial axes."""


@dataclass(frozen=True)
class Verdict:
    """The result for one network.

    ``position``: the share of the modules that finish before the layer. ``seconds``: the duration of the first
    explanation, with the search for the layer. ``followed``: the image is changed at nine positions, one after the
    other; this counts those at which the layer changes most. It is computed where the layer's output is not channels
    first, and is no part of the verdict, since attention and gates spread changes, especially with random weights.
    ``layers``: the number of layers, of which ``layer`` is the first. ``share``: how much of the score passes through
    them; None: the scores hardly change with the image. ``geometry``: what they see of the image; "": the whole of it;
    None: it was not measured. ``device``: where the network ran.
    """

    passed: bool
    reason: str = ""
    layer: str = ""
    grid: tuple[int, ...] = ()
    position: float = 0.0
    seconds: float = 0.0
    parameters: int = 0
    followed: int | None = None
    layers: int = 1
    share: float | None = None
    geometry: str | None = None
    device: str = "cpu"


def judged(spec: str, method: str = "gradcam", device: str = "cpu") -> Verdict:
    """Build a network with random weights, explain one noise image for ``CLASSES`` classes, and judge the maps."""
    try:
        model = pellucid.load_model(spec, num_classes=CLASSES)
        return _judged(model, method, device)
    except Exception as error:  # a failure is a row of the table, too
        return Verdict(False, f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")


def _judged(model: nn.Module, method: str, device: str) -> Verdict:
    model.to(device)
    images = noise(model, 1).to(device)
    make_informative(model, noise(model, 2).to(device))
    start = time.perf_counter()
    found = pellucid.explain(model, images, method=method, targets="all")
    seconds = time.perf_counter() - start
    layer = found.layers[0] if found.layers else ""
    position = position_of(model, images, layer) if layer else 1.0
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
        len(found.layers),
        found.provenance["share"],
        "; ".join(f"{name}: {view}" for name, view in found.provenance["views"].items()),
        device,
    )


def fault(found: pellucid.Explanation, position: float) -> str | None:
    """The fault of one image's maps; None if there is none."""
    size, grid = tuple(found.heatmaps.shape[2:]), tuple(found.attributions.shape[2:])
    if math.prod(grid) <= 1:
        return f"the grid {grid} has a single cell"
    if not _is_shaped(grid, size):
        return f"the grid {grid} does not have the proportions of the input {size}"
    maps = found.heatmaps[0, ~found.degenerate[0]]
    if not maps.isfinite().all():
        return "a map is not finite"
    if len(maps) < NEEDED:
        reasons = sorted({reason for reason in found.why_degenerate[0] if reason})
        return f"{len(maps)} of {found.heatmaps.shape[1]} maps are not empty; the others: {', '.join(reasons)}"
    if all(torch.allclose(maps[0], other, atol=1e-4) for other in maps[1:]):
        return "the maps of all classes are the same"
    if position >= 0.5 or (found.provenance["share"] or 0.0) >= _SHARE:
        return None
    return f"the layer is in the first half of the network ({position:.2f}), without a proof that the score passes"


def _is_shaped(grid: Sequence[int], size: Sequence[int]) -> bool:
    """Whether the cells of a grid are nearly square; the depth or time axis may have another stride."""
    strides = [side / cells for side, cells in zip(size[-2:], grid[-2:], strict=True)]
    return max(strides) <= _DISTORTION * min(strides)


def position_of(model: nn.Module, images: Tensor, layer: str) -> float:
    """The share of the modules that finish before a layer; a module that runs twice counts at its last run."""
    order: dict[str, None] = {}

    def recorder(name: str) -> Callable[..., None]:
        def record(*_: object) -> None:
            order.pop(name, None)
            order[name] = None

        return record

    handles = [module.register_forward_hook(recorder(name)) for name, module in model.named_modules()]
    try:
        with torch.no_grad():
            model(images)
    finally:
        for handle in handles:
            handle.remove()
    names = list(order)
    return names.index(layer) / max(1, len(names) - 1)


def followed(model: nn.Module, images: Tensor, layer: str) -> int | None:
    """At how many of nine positions a change of the image changes the layer most at the same position."""
    return kept(lambda: _followed(Session.of(model, Runtime()), images, layer))


def _followed(session: Session, images: Tensor, layer: str) -> int | None:
    inputs = Inputs.of(images)
    profile, size = profile_of(session, inputs), images.shape[2:]
    if layout_of(session, profile, layer, profile.shapes[layer], len(images)).kind == "channels_first":
        return None
    probe = Pass.of(session, images, [layer])

    def output(batch: Tensor) -> Tensor:
        return probe.on(batch).activations()[0, 0]

    before = output(images)
    centres = [(y, x) for y in (1 / 6, 1 / 2, 5 / 6) for x in (1 / 6, 1 / 2, 5 / 6)]
    changes = torch.stack([(output(_changed(images, *centre)) - before).square().sum(0) for centre in centres])
    # Normalised per cell: a cell that reacts to every change has no position.
    changes = changes.flatten(1, -3).sum(1) if changes.ndim > 3 else changes
    changes = changes / changes.mean(0).clamp(min=1e-30)
    return sum(_is_at(change, centre, size[-2:]) for change, centre in zip(changes, centres, strict=True))


def _changed(images: Tensor, y: float, x: float) -> Tensor:
    """The images with stronger noise in a rectangle of an eighth of their sides."""
    height, width = images.shape[-2:]
    down, across = max(2, height // 16), max(2, width // 16)
    rows, columns = int(y * height), int(x * width)
    part = (..., slice(rows - down, rows + down), slice(columns - across, columns + across))
    changed = images.clone()
    changed[part] = 3 * torch.randn(changed[part].shape, generator=torch.Generator().manual_seed(1))
    return changed


def _is_at(change: Tensor, centre: tuple[float, float], size: Sequence[int]) -> bool:
    """Whether the maximum of a map (rows, columns) lies in the rectangle that was changed, or next to it."""
    cell = divmod(int(change.argmax()), change.shape[1])
    pairs = zip(cell, centre, change.shape, size, strict=True)
    return all(abs(at + 0.5 - part * cells) <= 1 + max(2, side // 16) / side * cells for at, part, cells, side in pairs)


def make_informative(model: nn.Module, images: Tensor) -> None:
    """Replace all-zero weights by noise and the norms' statistics by those of a batch, as training would.

    Heads and residual branches that are initialised to zero block every signal, and the norms of an untrained network
    let signals vanish. The maps of such a network would be empty, correctly.
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
    """Noise images of the size that the network states, or of a common one."""
    return torch.randn(count, *input_shape(model), generator=torch.Generator().manual_seed(0))


def input_shape(model: nn.Module) -> tuple[int, ...]:
    """The shape (C, *space) of a network's input image."""
    if stated := pellucid.model_info(model).input_size:
        return stated
    first = next((m for m in model.modules() if isinstance(m, nn.modules.conv._ConvNd)), None)
    return _SIZES[2] if first is None else (first.in_channels, *_SIZES[len(first.kernel_size)][1:])
