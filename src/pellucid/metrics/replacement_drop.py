"""Replacement drop, after Fong & Vedaldi 2017 (arXiv:1704.03296): how far the score falls without the top of a map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from pellucid.core.metric import Cases, Change, Metric, Values, register_metric
from pellucid.core.ranking import cell_means, enlarged, highest
from pellucid.core.replacement import NOT_LOWERED, Replacement, check_replacement, stand_ins
from pellucid.errors import OptionError
from pellucid.metrics._curves import check_count
from pellucid.metrics._subsets import Score, check_score, clean


@register_metric("replacement_drop")
@dataclass(frozen=True)
class ReplacementDrop(Metric):
    """How far the score falls where the top share of the map's pixels or cells is replaced; higher is better.

    RD = f(x) − f(x with the top replaced), in [−1, 1] for probabilities, where the top is what is above 0 and among the
    highest round(top · n) of the n pixels or cells, at least one, and x is the image (C, *space). Equal values are in a
    random order, that of a seed. It takes heatmaps; an empty one replaces nothing and has 0.

    What replaces must be shown to lower the score and to look like the data: the scores' notes say for which cases the
    replacement of the *whole* image does not lower it. They have their value, which then says little. On breast
    ultrasound a blur raises the score of a lesion; the tissue of other patients without the finding follows the truth.

    ``top``: the share. ``replacement``: "blur", a Gaussian's with an eighth of each side as its standard deviation,
    "mean", "zero", or ``References(images, labels)``. ``cell``: the side of square cells in pixels, whose means are
    compared. ``score``: probability, or the logit.

    >>> import torch, pellucid
    >>> class Brightness(torch.nn.Module):
    ...     def forward(self, x):
    ...         return x.flatten(1).mean(1, keepdim=True)
    >>> image = torch.zeros(1, 1, 8, 8)
    >>> image[..., 2:4, 2:4] = 16.0
    >>> metric = pellucid.metrics.ReplacementDrop(replacement="zero", score="logit")
    >>> scores = pellucid.evaluate(Brightness(), image, image[:, 0] / 16, targets=1, head="binary", metrics=[metric])
    >>> scores["replacement_drop(replacement=zero, score=logit)"].item()  # one of 64 pixels: 2 %
    0.25
    """

    top: float = 0.02
    replacement: Replacement = "blur"
    cell: int = 1
    score: Score = "probability"

    unchanged_by: ClassVar[frozenset[Change]] = frozenset({"scale"})
    better: ClassVar[Literal["higher", "lower"] | None] = "higher"

    def __post_init__(self) -> None:
        """Refuse options that are not possible."""
        if not 0 < self.top <= 1:
            raise OptionError(f"top={self.top} was set; it must be a share above 0 and at most 1, such as 0.02")
        check_replacement(self.replacement, "replacement")
        check_count("cell", self.cell)
        check_score(self.score)

    def update(self, cases: Cases) -> Values:
        """Each case's fall: the mean over the references that were drawn."""
        found = stand_ins(self.replacement, cases)
        images, others, draws = cases.images, found.images, len(found.images)
        places = self._top(cases)

        def variant(which: Tensor, step: Tensor) -> Tensor:
            gone = places[which] | (step >= draws).reshape(-1, *(1,) * (places.ndim - 1))
            return torch.where(gone[:, None], others[step % draws, which], images[which])

        after = cases.scores(2 * draws, variant, logits=self.score == "logit").cpu().double()
        fall = clean(cases, self.score)[:, None] - after
        part, whole = fall[:, :draws].mean(dim=1), fall[:, draws:].mean(dim=1)
        return Values(part, found.reasons(), {NOT_LOWERED: ~(whole > 0)})

    def _top(self, cases: Cases) -> Tensor:
        """Where each heatmap is highest, (P, *space) bool."""
        top = highest(cell_means(cases.maps, self.cell), self.top, cases.generator())
        return enlarged(top, self.cell, cases.maps.shape[1:])
