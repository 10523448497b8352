"""The pointing game and the Wilson interval, compared with loops over pixels and with scipy."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from pellucid.errors import ShapeError
from pellucid.metrics.pointing import peaks, pointing_hits, widened
from pellucid.metrics.statistics import wilson
from tests.metrics import naive
from tests.metrics.judging import random_maps


def nearest(heat, mask):
    """The distance from the first maximum to the mask, in a loop over all pixels."""
    positions = list(itertools.product(*(range(side) for side in heat.shape)))
    peak = max(positions, key=lambda one: (float(heat[one]), [-axis for axis in one]))
    return min((math.dist(peak, one) for one in positions if mask[one]), default=math.inf)


@pytest.mark.parametrize("space", [(9, 7), (5, 6, 4)])
@pytest.mark.parametrize("tolerance", [0, 1, 1.5, 2, 3.7])
def test_hits_equal_those_of_a_loop(space, tolerance):
    source = torch.Generator().manual_seed(4)
    heat = torch.rand(200, *space, generator=source)
    masks = torch.rand(200, *space, generator=source) < 0.05
    expected = [nearest(one, mask) <= tolerance for one, mask in zip(heat, masks, strict=True)]
    assert 0 < sum(expected) < 200
    assert pointing_hits(heat, masks, tolerance).tolist() == expected


def test_the_peak_of_a_block_is_its_centre():
    heat = torch.zeros(2, 12, 12)
    heat[0, 2:7, 4:9] = 1
    heat[1, 3, 3] = heat[1, 3, 8] = 1  # two equal maxima: the first
    assert peaks(heat).tolist() == [[4, 6], [3, 3]]


@pytest.mark.parametrize("space", [(9, 12), (5, 6, 4), (16, 16)])
def test_peaks_equal_those_of_a_loop(space):
    maps = random_maps(60, space, levels=2)
    maps[::3] = random_maps(20, space, seed=5, levels=9)
    maps[2] = 0.0
    everything = set(itertools.product(*(range(side) for side in space)))
    expected = [list(naive.peak_of(everything, heat)[0]) for heat in maps.numpy()]
    maps[1], expected[1] = math.nan, [0] * len(space)
    assert peaks(maps).tolist() == expected


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan])
def test_an_empty_map_is_a_miss(value):
    heat, mask = torch.full((1, 4, 4), value), torch.ones(1, 4, 4, dtype=torch.bool)
    assert not pointing_hits(heat, mask).any()


def test_an_empty_mask_is_a_miss():
    assert not pointing_hits(torch.rand(1, 4, 4), torch.zeros(1, 4, 4, dtype=torch.bool), 10).any()


@pytest.mark.parametrize("tolerance", [13, 40, 1e9, math.inf])
def test_a_tolerance_beyond_the_image_reaches_every_pixel(tolerance):
    masks = torch.zeros(2, 9, 12, dtype=torch.bool)
    masks[0, 0, 0] = True
    reached = widened(masks, tolerance)
    assert reached[0].tolist() == [[y * y + x * x <= tolerance**2 for x in range(12)] for y in range(9)]
    assert not reached[1].any()


def test_a_mask_is_dilated_by_a_ball():
    mask = torch.zeros(1, 7, 7, dtype=torch.bool)
    mask[0, 3, 3] = True
    assert int(widened(mask, 2).sum()) == 13
    assert int(widened(mask, 1.5).sum()) == 9
    assert torch.equal(widened(mask, 0.9), mask)


@pytest.mark.parametrize(("heat", "mask"), [((1, 4, 4), (1, 4, 5)), ((4,), (4,))])
def test_wrong_shapes_are_refused(heat, mask):
    with pytest.raises(ShapeError):
        pointing_hits(torch.rand(heat), torch.ones(mask, dtype=torch.bool))


@given(st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_equals_scipys(counts):
    expected = binomtest(*counts).proportion_ci(method="wilson")
    assert wilson(*counts) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_without_a_count_the_interval_is_everything():
    assert wilson(0, 0) == (0, 1)
