"""Proof of passage: how much of the score goes through a layer, measured by holding its output.

The layer's output is held at that of a reference image, while the network looks at another image x. Where the score
then stays that of the reference, all of it passes through the layer; where it follows x, it goes by other ways::

    share = 1 − Σ (s(x | A(ref)) − s(ref))² / Σ (s(x) − s(ref))²

summed over pairs of images and over the classes, before dividing. The images are generated (``scenes``), and the
reference is a scene without its details: what a layer is then found to carry is what it carries of photographs and
radiographs. It is a condition and no grade: the first convolution of a network has a share of 1, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.core.head import over_places
from pellucid.core.inputs import Inputs
from pellucid.models.discovery.profile import profile_of
from pellucid.models.discovery.scenes import scenes, without_details
from pellucid.models.discovery.tokens import Layout
from pellucid.models.session.cache import remembered
from pellucid.models.session.hooks import first_tensor, replaced
from pellucid.models.session.session import Session

ENOUGH = 0.9
"""The share from which on the score counts as passing through a layer."""
PAIRS = 6
"""The number of scenes, each of which is a pair with the reference."""
_LEAST_CHANGE = 1e-4
"""Scores that differ by less than this fraction of their size between images measure nothing."""
Group = tuple[str, ...]
"""Layers that are held together."""


def shares(session: Session, image: Inputs, groups: Sequence[Group]) -> dict[Group, float | None]:
    """The share of each group of layers, from 0 to 1; None where it cannot be measured.

    Each is measured once for a model and an input shape. It costs six forward passes of one image a group, and seven
    for all.
    """
    known: dict[Group, float | None] = remembered(session.model, ("share", session.key(image)), dict)
    missing = [group for group in dict.fromkeys(groups) if group not in known]
    if missing:
        known |= dict(zip(missing, _measured(session, image, missing), strict=True))
    return {group: known[group] for group in groups}


def _measured(session: Session, image: Inputs, groups: Sequence[Group]) -> list[float | None]:
    """The shares of groups; None for all where the network does not take such images, or not as many."""
    with torch.no_grad(), suppress(RuntimeError, ValueError, IndexError, TypeError):
        return list(_Measurement.of(session, image, groups).shares())
    return [None] * len(groups)


@dataclass(frozen=True)
class _Measurement:
    """The scenes, the scores of these and of the reference, and the reference's outputs of each run of each layer."""

    session: Session
    scenes: Inputs
    groups: Sequence[Group]
    layouts: dict[str, Layout]
    scores: Tensor
    reference: Tensor
    outputs: dict[str, list[Tensor]]

    @classmethod
    def of(cls, session: Session, image: Inputs, groups: Sequence[Group]) -> _Measurement:
        drawn = scenes(PAIRS, image.images)
        modules = session.modules([layer for group in groups for layer in group])
        profile = profile_of(session, image)
        found = {layer: profile.layout(session.name_of(module), module) for layer, module in modules.items()}
        layouts = {layer: layout for layer, layout in found.items() if layout is not None}
        outputs: dict[str, list[Tensor]] = {layer: [] for layer in layouts}
        with ExitStack() as stack:
            for layer, kept in outputs.items():
                stack.callback(modules[layer].register_forward_hook(_keeper(kept)).remove)
            reference = _scores(session, image[:1].with_images(without_details(drawn[:1])))
        inputs = image[:1].with_images(drawn)
        size = session.runtime.batch_size
        scores = torch.cat([_scores(session, inputs[start : start + size]) for start in range(0, PAIRS, size)])
        return cls(session, inputs, groups, layouts, scores, reference, outputs)

    def shares(self) -> Iterator[float | None]:
        """The share of each group, in order."""
        rows = [(group, scene) for group in self.groups for scene in range(PAIRS)]
        size = self.session.runtime.batch_size
        held = torch.cat([self._held(rows[start : start + size]) for start in range(0, len(rows), size)])
        moved = (self.scores - self.reference).square().sum()
        least = PAIRS * (_LEAST_CHANGE * self.scores.abs().amax()) ** 2
        for group, scores in zip(self.groups, torch.split(held, PAIRS), strict=True):
            left = (scores - self.reference).square().sum()
            measured = bool(moved > least) and bool(left.isfinite()) and all(self.outputs.get(layer) for layer in group)
            yield max(0.0, 1 - float(left / moved)) if measured else None

    def _held(self, rows: Sequence[tuple[Group, int]]) -> Tensor:
        """The scores (rows, C) of a pass over scenes in which each row has its own layers held."""
        chosen = [scene for _, scene in rows]
        inputs = self.scenes.map_each(lambda tensor: tensor[chosen])
        layers = list(dict.fromkeys(layer for group, _ in rows for layer in group if self.outputs.get(layer)))
        with ExitStack() as stack:
            for layer, module in self.session.modules(layers).items():
                own = [index for index, (group, _) in enumerate(rows) if layer in group]
                hook = _holder(self.layouts[layer], iter(self.outputs[layer]), torch.tensor(own))
                stack.callback(module.register_forward_hook(hook).remove)
            return _scores(self.session, inputs)


def _scores(session: Session, inputs: Inputs) -> Tensor:
    return over_places(session.call(inputs)).double()


_Hook = Callable[[nn.Module, Any, Any], Any]


def _keeper(kept: list[Tensor]) -> _Hook:
    """A hook that keeps the output of each run."""

    def keep(_module: nn.Module, _inputs: Any, output: Any) -> None:
        tensor = first_tensor(output)
        kept.extend([] if tensor is None else [tensor.clone()])

    return keep


def _holder(layout: Layout, runs: Iterator[Tensor], own: Tensor) -> _Hook:
    """A hook that puts the reference's values of a run at the layer's spatial positions, in its ``own`` rows."""

    def hold(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        tensor, kept, axis = first_tensor(output), next(runs, None), layout.batch_axis
        if tensor is None or kept is None:
            return output
        rows = own.to(tensor.device)
        values = layout.spatial(kept).expand(len(rows), *(-1,) * (len(layout.grid) + 1))
        held = layout.restored(values, tensor.index_select(axis, rows))
        return replaced(output, tensor, tensor.index_copy(axis, rows, held))

    return hold
