"""How a map fits a mask by CheXlocalize's recipe: what its figures need of an image, without the map and the mask.

Saporta et al. 2022, doi:10.1038/s42256-022-00536-x; github.com/rajpurkarlab/cheXlocalize.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from pellucid.core.masks import flags_of
from pellucid.errors import OptionError, ShapeError
from pellucid.evaluation.protocols.segmenting import Flags, above, by_otsu, scaled

THRESHOLDS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
"""The thresholds to tune (tune_heatmap_threshold.py: ``np.arange(.2, .8, .1)``, which by rounding ends with .8)."""
TRUE_POSITIVES, FINDINGS, ALL = "true positives", "findings", "all"
OVER: Mapping[str, str] = {
    TRUE_POSITIVES: "images that have the finding, and a segmentation of it",
    FINDINGS: "images that have the finding; none is an overlap of 0",
    ALL: "images that have the finding, or a segmentation of it; one without the other is an overlap of 0",
}
"""What the mean overlap is over. The published code first had the first two, and later the first and the third, under
one option (eval.py, ``calculate_iou`` with ``true_pos_only``)."""


@dataclass(frozen=True)
class Overlap:
    """The numbers of pixels in a segmentation and the mask: in both, in either, and in the segmentation."""

    both: int
    either: int
    segmented: int


@dataclass(frozen=True)
class Localised:
    """How a map fits the mask of a label in an image: what ``chexlocalize`` takes, without the map and the mask.

    ``finding`` is the number of the mask's pixels, ``is_hit`` whether the most activated pixel is among them. ``otsu``
    is the overlap with Otsu's threshold, ``tried`` those with ``THRESHOLDS``; of a map that is not called, too.
    """

    image: str
    label: str
    finding: int
    is_hit: bool
    otsu: Overlap
    tried: Sequence[Overlap]
    is_called: bool = True


def localised(image: str, label: str, heatmap: Tensor, mask: Tensor, is_called: bool = True) -> Localised:
    """How a map (H, W) at the image's original size fits the mask (H, W) of a label; an empty mask: it has no finding.

    ``is_called``: whether the model's probability reaches the cutoff; below it the recipe segments nothing
    (tune_probability_threshold.py). The published maps are enlarged by bilinear interpolation.

    >>> import torch
    >>> one = localised("a", "Edema", torch.tensor([[0.0, 0.1, 0.8, 0.9]]), torch.tensor([[False, False, True, False]]))
    >>> one.is_hit, one.otsu
    (False, Overlap(both=1, either=2, segmented=2))

    Raises:
        ShapeError: the two are no image, or of different sizes.
        OptionError: the map is not finite.
    """
    if heatmap.ndim != 2 or heatmap.shape != mask.shape or not heatmap.numel():
        raise ShapeError(
            f"a map {tuple(heatmap.shape)} and a mask {tuple(mask.shape)} were given; two of the image's size (H, W) "
            "were expected: enlarge the map, and take slices of a volume"
        )
    values, flags = heatmap.detach().cpu().float().numpy(), flags_of(mask).numpy()
    if not np.isfinite(values).all():
        raise OptionError("a map that is not finite was given; finite numbers were expected: leave the image out")
    evidence = scaled(values)
    tried = [_overlap(above(evidence, threshold), flags) for threshold in THRESHOLDS]
    is_hit = bool(flags.flat[np.argmax(values)])  # the first of several maxima, as in eval.py
    return Localised(image, label, int(flags.sum()), is_hit, _overlap(by_otsu(evidence), flags), tried, is_called)


def _overlap(segmentation: Flags, mask: Flags) -> Overlap:
    return Overlap(int((segmentation & mask).sum()), int((segmentation | mask).sum()), int(segmentation.sum()))


def share(one: Localised, found: Overlap, over: str) -> float:
    """Intersection over union, over one of ``OVER``: NaN where the image does not count (eval.py, ``calculate_iou``).

    >>> one = Localised("a", "Edema", finding=3, is_hit=False, otsu=Overlap(0, 3, 0), tried=())
    >>> share(one, one.otsu, TRUE_POSITIVES), share(one, one.otsu, FINDINGS)
    (nan, 0.0)
    """
    counts = {
        TRUE_POSITIVES: one.finding > 0 and found.segmented > 0,
        FINDINGS: one.finding > 0,
        ALL: found.either > 0,
    }
    return found.both / found.either if counts[over] else math.nan
