"""The mean mask of each patient: where the findings of other patients lie."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from pellucid.evaluation.scoring.frame import unpacked
from pellucid.priors.mean_mask import ENOUGH, WIDEST, bandwidth, mean_mask_heatmaps

_HELD = 64
"""So many patients' maps are kept: the findings of one patient are scored one after the other."""


@dataclass(frozen=True)
class _Sums:
    """What is summed over masks: themselves (*space), and the first two powers of their centres (axes,), in sides."""

    masks: Tensor
    centres: Tensor
    squares: Tensor
    count: int
    patients: int

    def __sub__(self, other: _Sums) -> _Sums:
        return _Sums(
            self.masks - other.masks,
            self.centres - other.centres,
            self.squares - other.squares,
            self.count - other.count,
            self.patients - other.patients,
        )

    def sigma(self) -> float:
        """The standard deviation of the blur, in sides of the image; see ``MeanMasks``."""
        if self.count < 2:
            return WIDEST
        variances = (self.squares - self.centres.square() / self.count) / (self.count - 1)
        return bandwidth(variances, self.patients)


class MeanMasks:
    """Makes the prior's maps from the masks of a data set, which stay packed.

    ``masks`` are each image's, of all findings together, with its patient. Those of ``others``, such as of a split on
    which things are chosen, are used alone where they are at least 20. Each patient's map is the mean of all masks but
    its own.

    The mean is blurred by Scott's rule (``pellucid.priors.mean_mask.bandwidth``).
    """

    def __init__(
        self, masks: Iterable[tuple[str, bytes]], space: Sequence[int], others: Sequence[tuple[str, bytes]] = ()
    ) -> None:
        self._space = tuple(space)
        self.from_others = len(others) >= ENOUGH
        self._own: dict[str, list[bytes]] = {}
        for patient, mask in others if self.from_others else masks:
            self._own.setdefault(patient, []).append(mask)
        self._total = self._sum([mask for each in self._own.values() for mask in each], len(self._own))
        self.of = lru_cache(_HELD)(self._of)

    def _sum(self, masks: Sequence[bytes], patients: int) -> _Sums:
        total = torch.zeros(self._space, dtype=torch.int64)
        powers = torch.zeros(2, len(self._space), dtype=torch.float64)
        sides = torch.tensor(self._space, dtype=torch.float64)
        for mask in masks:
            found = unpacked(mask, self._space)
            total += found
            centre = found.nonzero().double().mean(0) / sides
            powers += torch.stack([centre, centre.square()])
        return _Sums(total, powers[0], powers[1], len(masks), patients)

    def _of(self, patient: str) -> Tensor | None:
        """The map (*space) in [0, 1] for images of a patient; None if there is no mask of another one."""
        own = self._own.get(patient, [])  # of others only where the image is one of theirs
        used = self._total - self._sum(own, bool(own))
        if not used.count:
            return None
        return mean_mask_heatmaps((used.masks.float() / used.count)[None], used.sigma())[0]
