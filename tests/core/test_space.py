"""Arithmetic on maps: what scaling, upsampling and the test for empty maps promise."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor
from torch.nn import functional as F

from pellucid.core.attribution import CONSTANT, NEGATIVE, NOT_FINITE, Attribution
from pellucid.core.space import (
    centred,
    degenerate,
    first_component,
    heatmap,
    scale,
    spatial_mean,
    spatial_sum,
    upsample,
    weighted_sum,
)
from pellucid.errors import OptionError

quick = settings(max_examples=40, deadline=None)
grids = st.lists(st.integers(2, 5), min_size=1, max_size=3).map(tuple)
factors = st.floats(0.01, 100)
shifts = st.floats(-10, 10)
seeds = st.integers(0, 2**16)


def maps(seed: int, grid: tuple[int, ...], dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(2, 3, *grid, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@quick
@given(seeds, grids)
def test_scaled_maps_fill_0_to_1(seed: int, grid: tuple[int, ...]) -> None:
    flat = scale(maps(seed, grid)).flatten(2)
    assert torch.equal(flat.amin(-1), torch.zeros(2, 3, dtype=torch.float64))
    assert torch.equal(flat.amax(-1), torch.ones(2, 3, dtype=torch.float64))


@quick
@given(seeds, grids, factors, shifts)
def test_scaling_forgets_factor_and_offset(seed: int, grid: tuple[int, ...], factor: float, shift: float) -> None:
    values = maps(seed, grid)
    torch.testing.assert_close(scale(factor * values + shift), scale(values), rtol=0, atol=1e-7)


def test_a_constant_map_is_scaled_to_0() -> None:
    assert torch.equal(scale(torch.full((1, 1, 3, 3), 7.0)), torch.zeros(1, 1, 3, 3))


@quick
@given(seeds, grids, st.integers(1, 3))
def test_upsampling_is_torchs(seed: int, grid: tuple[int, ...], times: int) -> None:
    values = maps(seed, grid)
    size = tuple(side * times + 1 for side in grid)
    mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[len(grid)]
    assert torch.equal(upsample(values, size), F.interpolate(values, size, mode=mode, align_corners=False))
    assert torch.equal(upsample(values, size, "nearest"), F.interpolate(values, size, mode="nearest"))
    assert upsample(values, grid) is values


def test_modes_of_a_rank() -> None:
    values = maps(0, (3, 3))
    assert torch.equal(
        upsample(values, (7, 7), "bicubic"), F.interpolate(values, (7, 7), mode="bicubic", align_corners=False)
    )
    assert torch.equal(upsample(values, (7, 7), "bilinear"), upsample(values, (7, 7)))
    for grid, mode in (((3, 3, 3), "bicubic"), ((3, 3), "lanczos")):
        with pytest.raises(OptionError, match="linear"):
            upsample(maps(0, grid), grid, mode)


def test_what_counts_as_empty() -> None:
    rows = torch.tensor(
        [
            [0.0, 1, 2, 3],
            [-1, -2, -3, -4],
            [5, 5, 5, 5],
            [5, 5, 5, 5 + 4e-5],
            [5, 5, 5, 5 + 1e-4],
            [0, 0, 0, 0],
            [0, 1, 2, float("nan")],
            [0, 1, 2, float("inf")],
            [-1e6, 0, 0, 9],
            [-1e6, 0, 0, 11],
        ],
        dtype=torch.float64,
    )
    flags = degenerate(rows.reshape(1, -1, 2, 2))[0].tolist()
    assert flags == [False, True, True, True, False, True, True, True, True, False]
    heat = heatmap(rows.reshape(1, -1, 2, 2), (5, 5))[0]
    assert heat.isfinite().all()
    for flag, one in zip(flags, heat, strict=True):
        assert (one.amax() == 0) == flag
        if not flag:
            assert (one.amin(), one.amax()) == (0, 1)


@quick
@given(seeds, grids, factors)
def test_emptiness_has_no_unit(seed: int, grid: tuple[int, ...], factor: float) -> None:
    values = maps(seed, grid)
    assert torch.equal(degenerate(values * factor), degenerate(values))


@quick
@given(seeds, st.integers(2, 4), factors)
def test_a_heatmap_is_relu_upsampled_and_scaled(seed: int, side: int, factor: float) -> None:
    values = maps(seed, (side, side)).abs()
    expected = F.interpolate(values, (9, 7), mode="bilinear", align_corners=False)
    expected = (expected - expected.amin((2, 3), True)) / (expected.amax((2, 3), True) - expected.amin((2, 3), True))
    torch.testing.assert_close(heatmap(values * factor, (9, 7)), expected)
    signed = maps(seed, (side, side))
    assert torch.equal(heatmap(signed, (9, 7)), heatmap(signed.relu(), (9, 7)))


@quick
@given(seeds, grids)
def test_sums_over_channels_and_places(seed: int, grid: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(2, 3, 4, *grid, generator=generator, dtype=torch.float64)
    activations = torch.randn(2, 1, 4, *grid, generator=generator, dtype=torch.float64)
    torch.testing.assert_close(weighted_sum(weights, activations), (weights * activations).sum(2))
    pooled = spatial_mean(weights)
    assert pooled.shape == (2, 3, 4, *(1,) * len(grid))
    torch.testing.assert_close(weighted_sum(pooled, activations), (pooled * activations).sum(2))
    places = weights[0, 0, 0].numel()
    torch.testing.assert_close(spatial_sum(weights), pooled * places)


@quick
@given(seeds)
def test_the_first_component(seed: int) -> None:
    values = torch.randn(1, 1, 4, 3, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    matrix = values[0, 0].flatten(1).T
    matrix = matrix - matrix.mean(0)
    found = first_component(centred(values)).flatten()
    left, sizes, _ = torch.linalg.svd(matrix, full_matrices=False)
    torch.testing.assert_close(found.abs(), (left[:, 0] * sizes[0]).abs())
    assert (found * matrix.mean(1)).sum() >= 0


def test_why_a_map_is_empty() -> None:
    rows = [[0.0, 1, 2, 3], [-1, -2, -3, -4], [5, 5, 5, 5], [0, 0, 0, 0], [0, 1, 2, float("nan")]]
    values = torch.tensor(rows).reshape(1, 5, 2, 2)
    assert Attribution(values).why_degenerate() == ((None, NEGATIVE, CONSTANT, CONSTANT, NOT_FINITE),)
    assert Attribution(values[:, :1]).why_degenerate() == ((None,),)
    # The formula's last ReLU has hidden it; weights and activations tell.
    activations = torch.rand(1, 1, 3, 2, 2) + 0.1
    for sign, reason in ((-1.0, NEGATIVE), (0.0, CONSTANT)):
        weights = torch.full((1, 1, 3, 1, 1), sign)
        hidden = Attribution(weighted_sum(weights, activations).relu(), weights, activations)
        assert hidden.why_degenerate() == ((reason,),)


def test_everything_can_be_differentiated() -> None:
    values = maps(0, (3, 3)).abs().requires_grad_()
    heatmap(values, (6, 6)).sum().backward()
    assert values.grad.abs().sum() > 0
