"""The arithmetic that methods share equals plain NumPy at every spatial position."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor

from pellucid.core.space import (
    FLAT,
    centred,
    degenerate,
    first_component,
    heatmap,
    magnitude,
    scale,
    signed_map,
    spatial_mean,
    spatial_sum,
    upsample,
    weighted_sum,
)
from pellucid.errors import OptionError
from tests.replicas.naive import interpolated, min_max_scaled
from tests.replicas.naive_cam import first_component as naive_component

GRIDS = [(5,), (3, 4), (2, 3, 4)]
every_grid = pytest.mark.parametrize("grid", GRIDS, ids=str)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def assert_same(found: Tensor, expected: Tensor | np.ndarray | float) -> None:
    torch.testing.assert_close(found, torch.as_tensor(expected, dtype=found.dtype), rtol=1e-9, atol=1e-12)


@every_grid
def test_means_sums_and_centred_values(grid: tuple[int, ...]) -> None:
    values = drawn(2, 3, 4, *grid)
    mean, total, left = spatial_mean(values), spatial_sum(values), centred(values)
    ones = (1,) * len(grid)
    assert mean.shape == total.shape == (2, 3, 4, *ones)
    for index in product(range(2), range(3), range(4)):
        channel = values[index].numpy()
        assert_same(mean[index].reshape(()), sum(channel.flat) / channel.size)
        assert_same(total[index].reshape(()), sum(channel.flat))
        assert_same(left[index], channel - sum(channel.flat) / channel.size)


@every_grid
@pytest.mark.parametrize("everywhere", [False, True])
@pytest.mark.parametrize("counts", [(2, 3, 4), (1, 1, 1)])
def test_a_weighted_sum(grid: tuple[int, ...], everywhere: bool, counts: tuple[int, int, int]) -> None:
    images, classes, channels = counts
    sides = grid if everywhere else (1,) * len(grid)
    weights, activations = drawn(*counts, *sides), drawn(images, 1, channels, *grid, seed=1)
    found = weighted_sum(weights, activations)
    assert found.shape == (images, classes, *grid)
    for b, k in product(range(images), range(classes)):
        expected = np.zeros(grid)
        for c in range(channels):
            for position in product(*map(range, grid)):
                at = position if everywhere else (0,) * len(grid)
                expected[position] += float(weights[b, k, c][at]) * float(activations[b, 0, c][position])
        assert_same(found[b, k], expected)


@every_grid
def test_the_largest_magnitude_over_the_channels(grid: tuple[int, ...]) -> None:
    values = drawn(2, 3, 4, *grid)
    found = magnitude(values)
    assert found.shape == (2, 3, *grid)
    for b, k in product(range(2), range(3)):
        for position in product(*map(range, grid)):
            assert float(found[b, k][position]) == max(abs(float(values[b, k, c][position])) for c in range(4))


@every_grid
@pytest.mark.parametrize("times", [0.6, 1.0, 2.3])
def test_another_size(grid: tuple[int, ...], times: float) -> None:
    values = drawn(2, 3, *grid)
    size = tuple(max(1, round(side * times)) for side in grid)
    assert_same(upsample(values, size), interpolated(values, size))
    assert upsample(values, grid) is values


@every_grid
@pytest.mark.parametrize("times", [0.6, 1.0, 2.3])
def test_the_nearest_position_at_another_size(grid: tuple[int, ...], times: float) -> None:
    values = drawn(1, 1, *grid)
    size = tuple(max(1, round(side * times)) for side in grid)
    found = upsample(values, size, "nearest")[0, 0]
    for position in product(*map(range, size)):
        nearest = tuple(at * cells // side for at, cells, side in zip(position, grid, size, strict=True))
        assert found[position] == values[0, 0][nearest]


def cubic(distance: float) -> float:
    """Keys' kernel, a = −3/4."""
    a, d = -0.75, abs(distance)
    if d <= 1:
        return (a + 2) * d**3 - (a + 3) * d**2 + 1
    return a * (d**3 - 5 * d**2 + 8 * d - 4) if d < 2 else 0.0


def test_cubic_at_another_size() -> None:
    values, size = drawn(1, 1, 3, 4), (7, 9)
    expected = np.zeros(size)
    for position in product(*map(range, size)):
        centres = [(at + 0.5) * cells / side - 0.5 for at, cells, side in zip(position, (3, 4), size, strict=True)]
        for near in product(range(-3, 6), range(-3, 7)):
            held = tuple(min(max(at, 0), cells - 1) for at, cells in zip(near, (3, 4), strict=True))
            weight = cubic(near[0] - centres[0]) * cubic(near[1] - centres[1])
            expected[position] += weight * float(values[0, 0][held])
    assert_same(upsample(values, size, "bicubic")[0, 0], expected)
    assert_same(upsample(values, size, "bilinear")[0, 0], interpolated(values[0, 0], size))


@pytest.mark.parametrize(
    ("grid", "mode"), [((3,), "bilinear"), ((3,), "bicubic"), ((2, 2, 2), "bicubic"), ((2, 2), "trilinear")]
)
def test_a_mode_of_another_rank_is_refused(grid: tuple[int, ...], mode: str) -> None:
    with pytest.raises(OptionError, match=f"{mode}.*; {len(grid)}-D maps take .*'linear'.*'nearest'"):
        upsample(drawn(1, 1, *grid), grid, mode)


DEGENERATE = {
    "a rise of less than a 1e-5 of the largest magnitude": ([-1.0, 0.0, 0.9e-5], True),
    "a rise of more": ([-1.0, 0.0, 1.1e-5], False),
    "a rise of more on another scale": ([-1e9, 0.0, 1.1e4], False),
    "a rise from a level": ([1.0, 1.0, 1.0 + 0.9e-5], True),
    "a greater rise from a level": ([1.0, 1.0, 1.0 + 1.2e-5], False),
    "zeros": ([0.0, 0.0, 0.0], True),
    "below zero": ([-1.0, -2.0, -3.0], True),
    "no number": ([0.0, math.nan, 1.0], True),
    "no end": ([0.0, math.inf, 1.0], True),
    "a map": ([0.0, -3.0, 1.0], False),
}


@pytest.mark.parametrize(("row", "nothing"), DEGENERATE.values(), ids=list(DEGENERATE))
def test_degenerate_maps(row: list[float], nothing: bool) -> None:
    values = torch.tensor([[row, [0.0, 1.0, 2.0]]], dtype=torch.float64)
    assert degenerate(values).tolist() == [[nothing, False]]
    shown = heatmap(values, (5,))
    if nothing:
        assert not shown[0, 0].any()
    else:
        assert_same(shown[0, 0], min_max_scaled(interpolated(values[0, 0].clamp(min=0), (5,))))
    assert_same(shown[0, 1], min_max_scaled(interpolated(values[0, 1], (5,))))


@every_grid
def test_a_heatmap_is_the_positive_part_at_the_images_size(grid: tuple[int, ...]) -> None:
    values = drawn(2, 3, *grid)
    size = tuple(2 * side + 1 for side in grid)
    found = heatmap(values, size)
    rough = heatmap(values, size, "nearest")
    for b, k in product(range(2), range(3)):
        assert_same(found[b, k], min_max_scaled(interpolated(values[b, k].clamp(min=0), size)))
    assert_same(rough, scale(upsample(values.clamp(min=0), size, "nearest")))


@every_grid
def test_each_map_is_stretched_by_itself(grid: tuple[int, ...]) -> None:
    values = drawn(2, 3, *grid)
    values[1, 2] = 4.0
    found = scale(values)
    for b, k in product(range(2), range(3)):
        assert_same(found[b, k], min_max_scaled(values[b, k]))


@every_grid
@pytest.mark.parametrize("offset", [-3.0, 0.0, 3.0])
@pytest.mark.parametrize("seed", range(3))
def test_the_first_component(grid: tuple[int, ...], offset: float, seed: int) -> None:
    values = drawn(2, 3, 4, *grid, seed=seed) + offset
    found = first_component(values)
    assert found.shape == (2, 3, *grid)
    for b, k in product(range(2), range(3)):
        assert_same(found[b, k], naive_component(values[b, k]))
        positions = values[b, k].flatten(1).T.numpy()
        singular = np.linalg.svd(positions, compute_uv=False)
        assert_same(found[b, k].norm(), singular[0])


@every_grid
def test_the_first_component_has_no_sign_of_its_own(grid: tuple[int, ...]) -> None:
    """That of the negative is the negative: its sign is that of the mean over the channels."""
    values = drawn(2, 3, 4, *grid)
    mean = centred(values.mean(dim=2, keepdim=True))[:, :, 0]
    found = first_component(values)
    assert ((found * mean).flatten(2).sum(dim=-1) > 0).all()
    assert_same(first_component(-values), -found)


def test_an_offset_common_to_all_channels_does_not_change_its_sign() -> None:
    """The variation of the channels' mean decides, not its size."""
    pattern = torch.tensor([3.0, -1.0, -1.0, -1.0], dtype=torch.float64)
    values = torch.stack([pattern, pattern, pattern])[None, None] - 10
    assert_same(first_component(values)[0, 0], math.sqrt(3) * (pattern - 10))


@pytest.mark.parametrize(("slope", "turned"), [(-0.5, False), (-2.0, True), (0.5, False), (2.0, False)])
def test_a_mean_that_hardly_varies_decides_no_sign(slope: float, turned: bool) -> None:
    """Below FLAT of the channels' size the largest magnitude is positive, whatever the mean over the channels."""
    pattern = torch.tensor([3.0, -1.0, -1.0, -1.0], dtype=torch.float64)
    pattern = pattern / pattern.square().mean().sqrt()
    tilt = slope * FLAT
    values = torch.stack([pattern + tilt * pattern, -pattern + tilt * pattern])[None, None]
    found = first_component(values)[0, 0]
    size = math.sqrt((1 + tilt) ** 2 + (1 - tilt) ** 2)
    assert_same(found, (-1 if turned else 1) * size * pattern)


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_behind_a_layer_norm_the_largest_magnitude_is_positive(sign: float) -> None:
    values = centred(drawn(1, 1, 12, 6).transpose(2, 3)).transpose(2, 3) * sign  # its channels' mean is 0 everywhere
    found = first_component(values)[0, 0]
    assert float(found[found.abs().argmax()]) > 0
    assert_same(found, naive_component(values[0, 0]))


def test_a_map_that_is_not_finite_has_no_component_and_spoils_no_other() -> None:
    values = drawn(2, 2, 4, 3, 3)
    whole = first_component(values)
    values[0, 1, 2, 1, 1] = torch.nan
    values[1, 0, 0, 0, 0] = torch.inf
    found = first_component(values)
    for b, k in product(range(2), range(2)):
        if b + k == 1:
            assert found[b, k].isnan().all()
        else:
            assert torch.equal(found[b, k], whole[b, k])


@every_grid
def test_a_signed_map_keeps_its_zero(grid: tuple[int, ...]) -> None:
    values = drawn(2, 3, *grid)
    values[0, 0] = values[0, 0].abs()
    values[0, 1] = -values[0, 1].abs()
    values[1, 0], values[1, 1], values[1, 2] = 3, torch.nan, 0
    size = tuple(2 * side + 1 for side in grid)
    found = signed_map(values, size)
    for index in product(range(2), range(3)):
        if index[0]:
            assert_same(found[index], np.zeros(size))
            continue
        large = interpolated(values[index], size).numpy()
        assert_same(found[index], large / max(abs(value) for value in large.flat))


def test_a_negative_map_is_shown_with_its_sign_unless_it_is_constant() -> None:
    values = torch.tensor([[-1.0, -3], [-2, -2]])[:, None]
    assert torch.equal(signed_map(values, (2,)), torch.tensor([[[-1 / 3, -1]], [[0, 0]]]))
