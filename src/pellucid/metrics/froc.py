"""Free-response ROC (Bunch et al. 1977, doi:10.1117/12.955926): lesions found against false marks, within an image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import Tensor

from pellucid.core.metric import Cases, Metric, Values, check_same_shape, register_metric
from pellucid.errors import OptionError
from pellucid.metrics._areas import check_threshold, without_masks

Array = npt.NDArray[Any]


@register_metric("froc")
@dataclass(frozen=True)
class FROC(Metric):
    """FROC of one image: the share of its lesions that are found with at most f false marks, averaged over f.

    The **marks** are the connected components of the heatmap at ``threshold`` or above, each at its highest pixel and
    ranked by its height. The **lesions** are the connected components of the mask. A mark that lies in a lesion, or at
    most ``tolerance`` pixels from it, finds it; any other mark is false, and a second one in the same lesion is
    neither. With S(f) the largest share of lesions found at up to f false marks::

        1 / (F + 1) Σ_{f=0..F} S(f),  F = ``false_marks``

    Marks of equal height count together. Heatmaps are scaled for each image, so heights are comparable within an image
    only: unlike the FROC of a detector, whose threshold is one for all images, this is a curve for each image
    (``froc_curve``), and the figure is the mean over the images.

    From 0 to 1; higher is better. Takes heatmaps (P, *space), 2-D or 3-D; no change of the values leaves it as it is.
    Components are of pixels that touch, also at corners. An empty map has no marks: 0.

    >>> heat, mask = torch.zeros(9, 9), torch.zeros(9, 9, dtype=torch.bool)
    >>> heat[1, 1], heat[4, 4], heat[7, 7] = 1.0, 0.9, 0.8
    >>> mask[4, 4] = mask[7, 6:8] = True  # one mark is false, and higher than the two that find the lesions
    >>> froc_curve(heat, mask)
    (tensor([0., 1., 1., 1.], dtype=torch.float64), tensor([0.0000, 0.0000, 0.5000, 1.0000], dtype=torch.float64))
    """

    threshold: float = 0.5
    false_marks: int = 4
    tolerance: float = 0.0

    better: ClassVar[Literal["higher", "lower"] | None] = "higher"
    needs_mask: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse options outside their range."""
        check_threshold(self.threshold)
        if not self.false_marks >= 0 or not self.tolerance >= 0:
            raise OptionError(
                f"false_marks and tolerance must be at least 0, got {self.false_marks} and {self.tolerance}"
            )

    def update(self, cases: Cases) -> Values:
        """The values (P,) of the cases that have a mask."""
        missing = without_masks(cases)
        left_out = torch.stack(list(missing.values())).any(0).tolist()
        return Values(
            torch.tensor(
                [
                    0.0 if out else self._mean(*froc_curve(heat, mask, self.threshold, self.tolerance))
                    for heat, mask, out in zip(cases.maps.cpu(), cases.masks.cpu(), left_out, strict=True)
                ],
                dtype=torch.float64,
            ),
            missing,
        )

    def _mean(self, false: Tensor, found: Tensor) -> float:
        """The mean of the largest share found at up to 0, 1, … false marks."""
        return float(torch.stack([found[false <= most].amax() for most in range(self.false_marks + 1)]).mean())


def froc_curve(heatmap: Tensor, mask: Tensor, threshold: float = 0.5, tolerance: float = 0.0) -> tuple[Tensor, Tensor]:
    """The FROC curve of one image: the false marks and the share of lesions found, (N,) float64 each, from (0, 0) on.

    A point for each height of a mark, from the highest down. ``heatmap`` (*space) in [0, 1] and ``mask`` (*space) bool;
    marks and lesions are those of ``FROC``. Without a lesion the share is NaN.

    Raises:
        ShapeError: the two differ in shape.
    """
    check_same_shape(heatmap[None], mask[None])
    positions, heights = _marks(heatmap.detach().cpu().numpy(), threshold)
    lesions, count = _components(mask.cpu().numpy())
    hit = _lesions_at(positions, lesions, tolerance) if count else np.zeros(len(positions), dtype=np.int64)
    levels = np.unique(heights)[::-1]
    false = [0.0, *(float(np.sum((heights >= level) & (hit == 0))) for level in levels)]
    found = [0.0, *(float(len(np.unique(hit[(heights >= level) & (hit > 0)]))) for level in levels)]
    shares = torch.tensor(found, dtype=torch.float64)
    return torch.tensor(false, dtype=torch.float64), shares / count if count else torch.full_like(shares, torch.nan)


def _components(flags: Array) -> tuple[Array, int]:
    """The connected components, numbered from 1, of pixels that touch at sides, edges or corners."""
    labels, count = ndimage.label(flags, structure=np.ones((3,) * flags.ndim))
    return labels, int(count)


def _marks(heat: Array, threshold: float) -> tuple[Array, Array]:
    """The positions (N, axes) and heights (N,) of the components at ``threshold`` or above.

    Of several pixels of the greatest height the one nearest to their mean is the position, as ``pointing.peaks`` says.
    """
    labels, count = _components(heat >= threshold)
    numbers = np.arange(1, count + 1)
    heights = np.asarray(ndimage.maximum(heat, labels, numbers)) if count else np.zeros(0)
    top = np.argwhere((labels > 0) & (heat == np.concatenate([[np.inf], heights])[labels]))
    own = labels[tuple(top.T)] - 1
    means = np.stack([np.bincount(own, axis, count) for axis in top.T], 1) / np.bincount(own, minlength=count)[:, None]
    order = np.lexsort((np.arange(len(top)), ((top - means[own]) ** 2).sum(1), own))
    _, first = np.unique(own[order], return_index=True)
    return top[order][first], heights


def _lesions_at(positions: Array, lesions: Array, tolerance: float) -> Array:
    """The number of the lesion at each position, or nearest to it within ``tolerance``; 0 where there is none."""
    distances, nearest = ndimage.distance_transform_edt(lesions == 0, return_indices=True)
    at = tuple(positions.T)
    owners = lesions[tuple(axis[at] for axis in nearest)]
    return np.where(distances[at] <= float(tolerance), owners, 0)
