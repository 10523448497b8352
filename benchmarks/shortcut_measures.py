"""What maps say of shortcuts: figures of maps, marker masks and pairs of maps, in PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.metrics import SSIM

REACH = 2
"""Pixels around a marker that count as it: a map's peak lies beside an edge as often as on it."""
TOP = 0.1
"""The share of the pixels that confounder sensitivity looks at."""


def around(masks: Tensor, reach: int = REACH) -> Tensor:
    """Masks (N, H, W) bool, and the pixels at most ``reach`` from them along each axis."""
    return F.max_pool2d(masks[:, None].float(), 2 * reach + 1, 1, reach)[:, 0].bool()


def share(maps: Tensor, masks: Tensor) -> Tensor:
    """The share (N,) of the positive part of maps (N, H, W) that lies in masks; 0 of an empty map or mask."""
    positive = maps.relu()
    return (positive * masks).sum((1, 2)) / positive.sum((1, 2)).clamp(min=torch.finfo(maps.dtype).tiny)


def known_signal(maps: Tensor, masks: Tensor) -> Tensor:
    """K-SSD (Adebayo et al. 2022, arXiv:2212.04629): the SSIM (N,) of maps in [0, 1] with the mask of the marker.

    The known spurious signal detection measure: of a network that cheats, on images with the marker. The mask is the
    map that would show the marker and nothing else.
    """
    return SSIM().update(maps, masks.to(maps)).values


def alike(maps: Tensor, others: Tensor) -> Tensor:
    """The SSIM (N,) of two sets of maps in [0, 1].

    Of a network that cheats and an honest one on images without the marker: the cause-for-concern measure, CCM. On
    images with it: the false alarm measure, FAM (Adebayo et al. 2022). The higher, the less the method tells the two
    apart.
    """
    return SSIM().update(maps, others).values


def confounder_sensitivity(maps: Tensor, masks: Tensor) -> Tensor:
    """The share (N,) of a marker's pixels that are among the tenth of the pixels where the map is highest.

    Sun et al. 2023 (arXiv:2307.12344): of images whose answer the marker changes. NaN without a marker.
    """
    flat = maps.flatten(1)
    top = flat.topk(int(TOP * flat.shape[1]), dim=1).indices
    chosen = torch.zeros_like(flat, dtype=torch.bool).scatter(1, top, True)
    marked = masks.flatten(1)
    found: Tensor = (chosen & marked).sum(1) / marked.sum(1)
    return found
