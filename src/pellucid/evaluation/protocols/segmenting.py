"""A map as a segmentation, as CheXlocalize makes it: min-max scaled, then Otsu's threshold with filled contours.

The published code (github.com/rajpurkarlab/cheXlocalize, heatmap_to_segmentation.py) does so with OpenCV and Pillow;
here it is SciPy, with the same pixels. Saporta et al. 2022, doi:10.1038/s42256-022-00536-x; Otsu 1979,
doi:10.1109/TSMC.1979.4310076.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Scaled = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]
_LEVELS = 256
_EPSILON = float(np.finfo(np.float32).eps)
_EIGHT = np.ones((3, 3), dtype=np.bool_)


def scaled(heatmap: npt.NDArray[np.floating]) -> Scaled:
    """A map (H, W) in single precision from 0 to 1: (h − min h) / max (h − min h). A constant map is 0.

    >>> scaled(np.array([[2.0, 3.0, 6.0]]))
    array([[0.  , 0.25, 1.  ]], dtype=float32)
    """
    risen = heatmap.astype(np.float32) - np.float32(heatmap.min())
    highest = risen.max()
    return risen / highest if highest > 0 else risen


def above(heatmap: Scaled, threshold: float) -> Flags:
    """The pixels (H, W) of a scaled map above a threshold that was tuned; no contour is filled."""
    return heatmap > threshold


def by_otsu(heatmap: Scaled) -> Flags:
    """The pixels (H, W) of a scaled map above Otsu's threshold of its 256 grey levels, with their contours filled.

    Each 8-connected region loses its holes, and regions of a single pixel are left out: their contour is no polygon.

    >>> ring = np.zeros((5, 7), dtype=np.float32)
    >>> ring[1:4, 1:4], ring[2, 2], ring[2, 5] = 1, 0, 1
    >>> by_otsu(ring).astype(int)
    array([[0, 0, 0, 0, 0, 0, 0],
           [0, 1, 1, 1, 0, 0, 0],
           [0, 1, 1, 1, 0, 0, 0],
           [0, 1, 1, 1, 0, 0, 0],
           [0, 0, 0, 0, 0, 0, 0]])
    """
    grey = (np.float32(_LEVELS - 1) * heatmap).astype(np.uint8)  # cut off, not rounded, as NumPy's uint8 does
    regions, _ = ndimage.label(grey > otsu_level(grey), _EIGHT)
    is_polygon = np.bincount(regions.ravel()) > 1
    is_polygon[0] = False
    return np.asarray(ndimage.binary_fill_holes(is_polygon[regions]), dtype=np.bool_)


def otsu_level(grey: npt.NDArray[np.uint8]) -> int:
    """Otsu's threshold of grey levels (H, W): the lowest t that maximises the variance between those ≤ t and those > t.

    Formula, with q₁ and q₂ the shares of the two and µ₁ and µ₂ their means: q₁ q₂ (µ₁ − µ₂)².

    >>> otsu_level(np.array([[10, 10, 12, 200, 210]], dtype=np.uint8))
    12
    """
    shares = np.bincount(grey.ravel(), minlength=_LEVELS) / grey.size
    low = np.cumsum(shares)
    high = 1 - low
    whole = float(shares @ np.arange(_LEVELS))
    sums = np.cumsum(shares * np.arange(_LEVELS))
    # OpenCV skips levels that leave one side (almost) empty
    is_split = np.minimum(low, high) >= _EPSILON
    low, high, sums = low[is_split], high[is_split], sums[is_split]
    between = low * high * (sums / low - (whole - sums) / high) ** 2
    return int(np.flatnonzero(is_split)[np.argmax(between)]) if len(between) else 0
