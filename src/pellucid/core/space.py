"""Arithmetic on maps of any rank: pooling, weighted sums, upsampling, scaling. All of it is differentiable."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.errors import OptionError

DEGENERATE = 1e-5
"""A map whose values vary by less than this fraction of its largest magnitude shows nothing."""

FLAT = 0.01
"""A mean over the channels that varies by less than this fraction of the channels' size gives no direction."""

_MODES = {
    "linear": {1: "linear", 2: "bilinear", 3: "trilinear"},
    "bilinear": {2: "bilinear"},
    "bicubic": {2: "bicubic"},
    "nearest": {1: "nearest", 2: "nearest", 3: "nearest"},
}


def gaussian(maps: Tensor, axis: int, deviation: float, reach: int, beyond: str) -> Tensor:
    """Values blurred along an axis by a Gaussian of ``deviation`` pixels, cut off at ``reach`` pixels on either side.

    ``beyond``: what is beyond the edges, "reflect" or "replicate".
    """
    steps = torch.arange(-reach, reach + 1, device=maps.device, dtype=maps.dtype)
    weights = torch.exp(-steps.square() / (2 * deviation**2))
    rows = maps.movedim(axis, -1)
    padded = F.pad(rows.flatten(0, -2)[:, None], (reach, reach), mode=beyond)
    return F.conv1d(padded, (weights / weights.sum())[None, None]).view(rows.shape).movedim(-1, axis)


def spatial_mean(values: Tensor) -> Tensor:
    """Mean over the grid of (B, K, C, *grid), kept with size 1: (B, K, C, 1, …)."""
    return values.mean(dim=tuple(range(3, values.ndim)), keepdim=True)


def spatial_sum(values: Tensor) -> Tensor:
    """Sum over the grid of (B, K, C, *grid), kept with size 1: (B, K, C, 1, …)."""
    return values.sum(dim=tuple(range(3, values.ndim)), keepdim=True)


def weighted_sum(weights: Tensor, activations: Tensor) -> Tensor:
    """Sum over the channels of weights × activations: (B, K, *grid).

    ``weights`` is (B, K, C, *grid) or (B, K, C, 1, …), ``activations`` (B, 1, C, *grid). The product
    (B, K, C, *grid) is never materialised.
    """
    if weights[0, 0, 0].numel() == 1:
        return torch.einsum("bkc,bc...->bk...", weights.flatten(2), activations.squeeze(1))
    return torch.einsum("bkc...,bc...->bk...", weights, activations.squeeze(1))


def upsample(maps: Tensor, size: Sequence[int], mode: str = "linear") -> Tensor:
    """Interpolate maps (B, K, *grid) to (B, K, *size), pixel centres at half integers.

    ``mode``: linear (bilinear or trilinear, by the rank), bilinear, bicubic or nearest.
    """
    rank = maps.ndim - 2
    if rank not in _MODES.get(mode, {}):
        allowed = [name for name, ranks in _MODES.items() if rank in ranks]
        raise OptionError(f"interpolation mode {mode!r} was asked for; {rank}-D maps take {allowed}")
    if tuple(maps.shape[2:]) == tuple(size):
        return maps
    corners = None if mode == "nearest" else False
    return F.interpolate(maps, tuple(size), mode=_MODES[mode][rank], align_corners=corners)


def scale(maps: Tensor) -> Tensor:
    """Scale each map of (B, K, *space) to [0, 1]: (m − min) / (max − min); a constant map becomes 0."""
    low, spread = _range(maps)
    return (maps - low).div_(spread)


def _range(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Each map's minimum, and the difference to its maximum; 1 for a constant map."""
    grid = tuple(range(2, maps.ndim))
    low = maps.amin(dim=grid, keepdim=True)
    spread = maps.amax(dim=grid, keepdim=True) - low
    return low, torch.where(spread > 0, spread, torch.ones_like(spread))


def degenerate(values: Tensor) -> Tensor:
    """Which maps of (B, K, *grid) show nothing, (B, K) bool.

    A value is not finite, or the positive part p of the map a is flat: max p − min p ≤ 1e-5 · max |a|.
    """
    flat = values.flatten(2)
    positive = flat.relu()
    spread = positive.amax(-1) - positive.amin(-1)
    return ~flat.isfinite().all(-1) | (spread <= DEGENERATE * flat.abs().amax(-1))


def heatmap(values: Tensor, size: Sequence[int], mode: str = "linear") -> Tensor:
    """The positive part of (B, K, *grid), upsampled to ``size``, then scaled to [0, 1]; degenerate maps are zeros."""
    shown = ~degenerate(values).reshape(*values.shape[:2], *(1,) * (values.ndim - 2))
    clean = torch.where(shown, values, torch.zeros_like(values)).relu()
    large = upsample(clean, size, mode)
    if large.requires_grad:
        return scale(large)
    low, spread = _range(large)
    return large.sub_(low).div_(spread)  # in place: for many maps, allocating memory takes longest


def signed_map(values: Tensor, size: Sequence[int], mode: str = "linear", largest: Tensor | None = None) -> Tensor:
    """(B, K, *grid), upsampled to ``size``, then divided by its largest magnitude: in [−1, 1], and 0 stays 0.

    ``largest`` (B, K) is used in place of the largest magnitude, such as that of the sequence that the maps belong to.
    Maps that are constant or not finite are zeros.
    """
    shown = ~(degenerate(values) & degenerate(-values)).reshape(*values.shape[:2], *(1,) * (values.ndim - 2))
    large = upsample(torch.where(shown, values, torch.zeros_like(values)), size, mode)
    own = large.abs().amax(dim=tuple(range(2, large.ndim)), keepdim=True)
    most = own if largest is None else largest.to(large).reshape(own.shape)
    return large / torch.where(most > 0, most, torch.ones_like(most))


def centred(values: Tensor) -> Tensor:
    """(B, K, C, *grid) minus each channel's mean over the grid."""
    return values - spatial_mean(values)


def first_component(values: Tensor) -> Tensor:
    """Project (B, K, C, *grid) onto its first singular vector over the channels: (B, K, *grid).

    With X the (positions × C) matrix, X = U Σ Vᵀ, the result is X v₁; for centred values that is the first
    principal component. The sign of a singular vector is arbitrary: the projection gets the sign with which it
    correlates positively, over the positions, with the mean over the channels. Where that mean is constant (as after
    a layer norm), its value of largest magnitude is made positive.
    """
    matrix = values.flatten(3).transpose(2, 3)
    # A map with a value that is not finite has no components, and would make the decomposition of the others fail.
    finite = matrix.isfinite().flatten(2).all(-1)[..., None]
    matrix = torch.where(finite[..., None], matrix, torch.zeros_like(matrix))
    _, _, right = torch.linalg.svd(matrix, full_matrices=False)
    projection = (matrix @ right[..., 0, :, None]).squeeze(-1)
    signed = torch.where(_has_wrong_sign(projection, matrix), -projection, projection)
    signed = torch.where(finite, signed, torch.full_like(signed, torch.nan))
    return signed.reshape(*values.shape[:2], *values.shape[3:])


def _has_wrong_sign(projection: Tensor, matrix: Tensor) -> Tensor:
    """Whether a projection (B, K, positions) of (B, K, positions, C) has the wrong sign, (B, K, 1)."""
    mean = matrix.mean(dim=-1)
    mean = mean - mean.mean(dim=-1, keepdim=True)
    flat = mean.square().mean(dim=-1) <= FLAT**2 * matrix.square().mean(dim=(-2, -1))
    peak = projection.gather(-1, projection.abs().argmax(dim=-1, keepdim=True))
    return torch.where(flat[..., None], peak, (projection * mean).sum(dim=-1, keepdim=True)) < 0


def magnitude(values: Tensor) -> Tensor:
    """The largest magnitude over the channels of (B, K, C, *space): (B, K, *space)."""
    return values.abs().amax(dim=2)


def mean_of(maps: Iterable[Tensor]) -> Tensor:
    """The mean of maps that come one after the other."""
    each = iter(maps)
    total, count = next(each), 1
    for values in each:
        total, count = total + values, count + 1
    return total / count
