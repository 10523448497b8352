"""Shares of the heat on images without a finding, against loops over pixels."""

from __future__ import annotations

import math

import pytest
import torch

from pellucid.evaluation.scoring.heat import even_shares, shares

SPACE = (13, 20)
KEYS = ("area", "in the mean mask", "at the border")


def is_outer(y: int, x: int) -> bool:
    """Within a tenth of a side, rounded up: 2 rows of 13, 2 columns of 20."""
    return y < 2 or y >= 11 or x < 2 or x >= 18


@pytest.fixture(scope="module")
def maps() -> torch.Tensor:
    return torch.rand(3, *SPACE, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def usual() -> torch.Tensor:
    return torch.rand(3, *SPACE, generator=torch.Generator().manual_seed(1))


def looped(heat: torch.Tensor, usual: torch.Tensor) -> list[float]:
    whole = inside = outer = high = 0.0
    for y in range(SPACE[0]):
        for x in range(SPACE[1]):
            value = float(heat[y, x])
            whole += value
            high += value >= 0.5
            inside += value if usual[y, x] >= 0.5 else 0
            outer += value if is_outer(y, x) else 0
    return [high / math.prod(SPACE), inside / whole, outer / whole]


def test_shares_equal_loops(maps: torch.Tensor, usual: torch.Tensor) -> None:
    for one, heat, mask in zip(shares(maps, usual), maps, usual, strict=True):
        assert [one[key] for key in KEYS] == pytest.approx(looped(heat, mask), rel=1e-6)


def test_an_even_map_has_the_shares_of_the_areas(usual: torch.Tensor) -> None:
    flat = torch.ones(3, *SPACE)
    for one, heat, mask in zip(even_shares(usual), flat, usual, strict=True):
        _, inside, outer = looped(heat, mask)
        assert [one[key] for key in KEYS[1:]] == pytest.approx([inside, outer], rel=1e-6)


def test_half_of_evenly_spread_values_are_high(usual: torch.Tensor) -> None:
    spread = torch.arange(260).reshape(1, *SPACE) / 259
    assert even_shares(usual[:1])[0]["area"] == shares(spread, usual[:1])[0]["area"] == 0.5


def test_what_is_not_there_has_no_share(maps: torch.Tensor, usual: torch.Tensor) -> None:
    broken, empty = maps.clone(), torch.zeros(1, *SPACE)
    broken[0, 3, 3] = torch.nan
    assert set(shares(broken, usual)[0].values()) == {None}
    assert shares(empty, usual[:1]) == [{"area": 0.0, "in the mean mask": None, "at the border": None}]
    nobody = torch.full((1, *SPACE), torch.nan)
    assert shares(maps[:1], nobody)[0]["in the mean mask"] is even_shares(nobody)[0]["in the mean mask"] is None
    assert shares(maps[:1], nobody)[0]["at the border"] is not None
