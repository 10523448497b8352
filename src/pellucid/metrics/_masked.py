"""The score of what a heatmap leaves of the image, for average drop and increase in confidence."""

from __future__ import annotations

from torch import Tensor

from pellucid.core.metric import Cases
from pellucid.core.replacement import Replacement, StandIns, stand_ins


def masked_scores(cases: Cases, baseline: Replacement) -> tuple[Tensor, StandIns]:
    """The scores (P,) of h · x + (1 − h) · baseline, with h the heatmap; and what the baseline is."""
    found = stand_ins(baseline, cases)
    images, others, heat = cases.images, found.images[0], cases.maps[:, None]

    def variant(which: Tensor, _step: Tensor) -> Tensor:
        there = heat[which].to(images.dtype)
        return there * images[which] + (1 - there) * others[which]

    return cases.scores(1, variant)[:, 0], found
