"""Maps on masks of other patients, shuffled several times: a negative control."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pellucid.core.metric import Metric
from pellucid.evaluation.scoring.by_masks import Maps, by_masks


@dataclass(frozen=True, eq=False)
class Partners:
    """The masks (P, *space) of partners, and who has one, (P,)."""

    masks: Tensor
    there: Tensor


@dataclass(frozen=True, eq=False)
class Shuffled:
    """The partners of P findings in each shuffle, one after the other: all at once would take gigabytes of volumes.

    ``others`` (P, shuffles) are the partners, −1 for none, and ``masks`` makes the masks (P, *space) of some.
    """

    masks: Callable[[Sequence[int]], Tensor]
    others: npt.NDArray[np.int64]

    def __iter__(self) -> Iterator[Partners]:
        """The partners of each shuffle."""
        return map(self.shuffle, range(self.others.shape[1]))

    def shuffle(self, number: int) -> Partners:
        """The partners of one shuffle, from 0."""
        own = self.others[:, number]
        return Partners(self.masks(own.tolist()), torch.from_numpy(own >= 0))


def on_others(metric: Metric, maps: Maps, shuffles: Shuffled) -> Tensor:
    """The values (P, shuffles) of maps (P, *space) on the masks of each shuffle; NaN where there is no partner."""
    each = [by_masks(metric, maps, one.masks).where(one.there, torch.nan) for one in shuffles]
    return torch.stack(each, dim=1)
