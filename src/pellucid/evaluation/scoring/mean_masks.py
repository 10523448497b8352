"""The mean mask of each patient: where the findings of other patients lie."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

import torch
from torch import Tensor

from pellucid.evaluation.scoring.frame import unpacked
from pellucid.priors.mean_mask import ENOUGH, mean_mask_heatmaps

_HELD = 64
"""So many patients' maps are kept: the findings of one patient are scored one after the other."""


class MeanMasks:
    """Makes the prior's maps from the masks of a data set, which stay packed.

    ``masks`` are each image's, of all findings together, with its patient. Those of ``others``, such as of a split on
    which things are chosen, are used alone where they are at least 20; else each patient's map is the mean of all
    masks but its own.
    """

    def __init__(
        self, masks: Iterable[tuple[str, bytes]], space: Sequence[int], others: Sequence[tuple[str, bytes]] = ()
    ) -> None:
        self._space = tuple(space)
        self.from_others = len(others) >= ENOUGH
        self._own: dict[str, list[bytes]] = {}
        for patient, mask in others if self.from_others else masks:
            self._own.setdefault(patient, []).append(mask)
        self._total = self._sum(mask for each in self._own.values() for mask in each)
        self._count = sum(map(len, self._own.values()))
        self.of = lru_cache(_HELD)(self._of)

    def _sum(self, masks: Iterable[bytes]) -> Tensor:
        found = torch.zeros(self._space, dtype=torch.int64)
        for mask in masks:
            found += unpacked(mask, self._space)
        return found

    def _of(self, patient: str) -> Tensor | None:
        """The map (*space) in [0, 1] for images of a patient; None if there is no mask of another one."""
        own = [] if self.from_others else self._own.get(patient, [])
        count = self._count - len(own)
        if not count:
            return None
        mean = (self._total - self._sum(own)).float() / count
        return mean_mask_heatmaps(mean[None])[0]
