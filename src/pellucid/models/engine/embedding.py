"""Where a network puts its patches among its tokens, found out by changing the picture's corners."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from pellucid.models.engine.capture import first_tensor
from pellucid.models.engine.trace import Trace
from pellucid.models.tokens import Layout

_EARLY = 0.25
"""The share of the modules among which tokens are looked at; further on, they have looked at each other."""


class _Seen(Exception):  # noqa: N818  # no error: it ends a pass
    """What was looked for is known."""


def locate(trace: Trace, network: nn.Module, noise: Tensor, call: Callable[[Tensor], Any]) -> None:
    """Note in a trace which tokens are the patches, and whether they follow one another along rows or columns.

    ``call`` passes images like ``noise`` (1, C, *space) through the network; the pass is broken off at the first layer
    of tokens. Where what changes fits no way of lying, the common one stays: row by row, behind all other tokens.
    """
    modules = dict(network.named_modules())
    name = _first_tokens(trace, modules)
    if name is None:
        return
    layout: Layout = trace.layout(name, modules[name])  # type: ignore[assignment]  # it has one
    kept: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: Any, output: Any) -> None:
        tensor = first_tensor(output)
        kept.extend([] if tensor is None else [tensor])
        raise _Seen

    handle = modules[name].register_forward_hook(keep)
    try:
        call(_corners(noise, layout))
    except _Seen:
        pass
    finally:
        handle.remove()
    if kept:
        _note(trace, layout, kept[0].movedim(layout.batch_axis, 0).float())


def _first_tokens(trace: Trace, modules: dict[str, nn.Module]) -> str | None:
    """The first layer whose output is tokens, some of which lie nowhere, else the first of tokens at all."""
    names = [name for name in trace.shapes if name in modules and trace.runs[name] == 1]
    tokens = []
    for name in names[: max(1, int(_EARLY * len(names)))]:
        layout = trace.layout(name, modules[name])
        if layout is not None and layout.kind == "tokens" and not layout.order:
            count = trace.shapes[name][1 - layout.batch_axis]
            tokens.append((count == layout.cells, name))
    return min(tokens, key=lambda found: found[0])[1] if tokens else None


def _corners(noise: Tensor, layout: Layout) -> Tensor:
    """The picture as it is, and with its first, its last upper and its last patch changed: (4, C, *space)."""
    patch = [max(1, side // cells) for side, cells in zip(noise.shape[2:], layout.grid, strict=True)]
    first, last = [slice(0, side) for side in patch], [slice(-side, None) for side in patch]
    upper = [*first[:-1], last[-1]]
    changed = noise.repeat(4, *(1,) * (noise.ndim - 1))
    for index, part in enumerate((first, upper, last), start=1):
        changed[index][(slice(None), *part)] *= -2
    return changed


def _note(trace: Trace, layout: Layout, tokens: Tensor) -> None:
    first, upper, last = ((one - tokens[0]).abs().sum(dim=-1).argmax().item() for one in tokens[1:])
    rest = tokens.shape[1] - layout.cells
    rows, columns = layout.grid[-2:]
    if last - first != layout.cells - 1 or not 0 <= first <= rest:
        return
    trace.places.before = None if first == rest else int(first)
    if len(layout.grid) == 2 and rows > 1 and columns > 1:
        trace.places.by_columns = upper - first == (columns - 1) * rows
