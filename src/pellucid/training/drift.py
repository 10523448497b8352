"""Drift: how far the maps of a fixed batch have moved since they were last made, while the network learnt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pellucid.core.explanation import Explanation
from pellucid.core.metric import Comparison, Takes, Values
from pellucid.errors import ShapeError
from pellucid.run.judged_maps import form_of

NO_EARLIER = "there is no earlier map"
OTHER_CLASS = "the predicted class changed"
NOTHING = "a map shows nothing"
_STATE = ("maps", "shown", "targets")


@dataclass(frozen=True, eq=False)
class Reference:
    """The maps that the next ones are compared with, on the CPU.

    ``maps`` (B, K, *space) float32 as the comparison takes them, ``shown`` (B, K) bool: those that are finite and not
    constant, ``targets`` (B, K) int64: the classes that they explain.
    """

    maps: Tensor
    shown: Tensor
    targets: Tensor

    @classmethod
    def of(cls, explanation: Explanation, takes: Takes) -> Reference:
        """The maps of an explanation."""
        maps = form_of(explanation, takes).detach().float().cpu()
        finite = maps.flatten(2).isfinite().all(2)
        shown = finite & ~explanation.degenerate.cpu()
        return cls(torch.nan_to_num(maps), shown, explanation.targets.cpu())

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> Reference:
        """The maps that ``state`` returned."""
        return cls(*(state[name] for name in _STATE))

    def state(self) -> dict[str, Tensor]:
        """Plain tensors, for a checkpoint."""
        return {name: getattr(self, name) for name in _STATE}


def drift(before: Reference | None, after: Reference, similarity: Comparison) -> Values:
    """How far the map of each image and class moved, (B·K,), one image's classes after the other.

    Formula::

        drift = 1 − s(m′, m)

    with m′ the map before and m the map after, of the same image and class, and s the similarity: SSIM (Wang et al.
    2004) or Spearman's rank correlation, for instance. 0: the map is the same; 1: the two are as little alike as maps
    that have nothing in common; up to 2 for opposite ones.

    A map that is constant, empty or not finite has no drift, towards it or from it: it has no correlation, and SSIM
    finds two empty maps equal, so that a network whose maps died would seem to be at rest. Nor has a map whose class
    changed, which "predicted" targets allow. Both are counted, with the reason.

    Raises:
        ShapeError: the maps differ in shape.

    >>> from pellucid.metrics import Spearman
    >>> maps = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    >>> before = Reference(maps, torch.tensor([[True]]), torch.tensor([[0]]))
    >>> after = Reference(maps.flip(3), torch.tensor([[True]]), torch.tensor([[0]]))
    >>> drift(before, after, Spearman()).values
    tensor([0.4000], dtype=torch.float64)
    """
    if before is None:
        values = torch.full((after.targets.numel(),), torch.nan)
        return Values(values, {NO_EARLIER: torch.ones(len(values), dtype=torch.bool)})
    if before.maps.shape != after.maps.shape:
        shapes = f"{tuple(before.maps.shape)} and {tuple(after.maps.shape)}"
        raise ShapeError(f"maps {shapes} were to be compared; the batch and its classes must stay the same")
    found = similarity.update(before.maps.flatten(0, 1), after.maps.flatten(0, 1))
    other = (before.targets != after.targets).flatten()
    empty = ~(before.shown & after.shown).flatten()
    return Values(1 - found.values, {OTHER_CLASS: other, NOTHING: empty, **found.missing})


def changed(before: Reference | None, after: Reference) -> int:
    """Of how many maps the class changed."""
    return 0 if before is None else int((before.targets != after.targets).sum())
