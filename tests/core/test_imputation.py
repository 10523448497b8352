"""The solver of the linear imputation against a dense system, and the orders of pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from pellucid.core import imputation
from pellucid.core.imputation import imputed
from pellucid.core.ranking import area, cell_means, enlarged, highest, parts, ranks
from pellucid.errors import ShapeError
from tests.metrics import naive_faithfulness as naive


def missing_of(kind: str, space: tuple[int, ...]) -> Tensor:
    """A large hole, scattered pixels, or nearly all."""
    drawn = torch.rand(2, *space, generator=torch.Generator().manual_seed(1))
    if kind == "scattered":
        return drawn < 0.5
    if kind == "nearly all":
        found = torch.ones(2, *space, dtype=torch.bool)
        found[(0, *(0,) * len(space))] = False
        found[(1, *(side // 2 for side in space))] = False
        return found
    found = torch.zeros(2, *space, dtype=torch.bool)
    found[(slice(None), *(slice(0, side - 2) for side in space))] = True
    return found


@pytest.mark.parametrize("kind", ["scattered", "hole", "nearly all"])
@pytest.mark.parametrize("space", [(23, 31), (1, 9), (16, 16), (7, 6, 9)])
def test_the_solver_equals_a_dense_one(kind, space):
    missing = missing_of(kind, space)
    images = 5 + torch.randn(2, 2, *space, generator=torch.Generator().manual_seed(2))
    expected = np.stack([naive.imputed(one.numpy(), gone.numpy()) for one, gone in zip(images, missing, strict=True)])
    found = imputed(images, missing)
    torch.testing.assert_close(found.double(), torch.from_numpy(expected), rtol=0, atol=1e-4)
    assert torch.equal(found[~missing[:, None].expand_as(images)], images[~missing[:, None].expand_as(images)])
    assert imputed(images.double(), missing).dtype == torch.float64


def test_images_solved_in_parts_are_the_same(monkeypatch):
    space = (20, 20)
    images = torch.randn(5, 3, *space, generator=torch.Generator().manual_seed(3))
    missing = torch.rand(5, *space, generator=torch.Generator().manual_seed(4)) < 0.6
    whole = imputed(images, missing)
    monkeypatch.setattr(imputation, "_AT_ONCE", 2 * 3 * 400)
    torch.testing.assert_close(imputed(images, missing), whole, rtol=0, atol=1e-5)


def test_nothing_and_all_missing():
    images = torch.randn(2, 3, 8, 8)
    missing = torch.zeros(2, 8, 8, dtype=torch.bool)
    assert torch.equal(imputed(images, missing), images)
    missing[1] = True
    found = imputed(images, missing)
    assert torch.equal(found[0], images[0])
    assert not found[1].any()


@pytest.mark.parametrize("shape", [(2, 8), (3, 8, 8), (2, 8, 9)])
def test_missing_pixels_of_another_size(shape):
    with pytest.raises(ShapeError, match="missing pixels"):
        imputed(torch.zeros(2, 1, 8, 8), torch.zeros(shape, dtype=torch.bool))


def test_ranks_are_an_order():
    maps = torch.randn(3, 6, 5, generator=torch.Generator().manual_seed(0)).round()
    found = ranks(maps, torch.Generator().manual_seed(1))
    for heat, ranked in zip(maps, found, strict=True):
        assert sorted(ranked.flatten().tolist()) == list(range(30))
        in_order = heat.flatten()[ranked.flatten().argsort()].tolist()
        assert in_order == sorted(in_order, reverse=True)
    flat = ranks(torch.zeros(2, 6, 5), torch.Generator().manual_seed(1))
    assert torch.equal(flat[0], flat[1])
    assert flat[0].flatten().tolist() != list(range(30))


def test_the_highest_are_above_0_and_ties_are_drawn():
    heat = torch.tensor([[[0.5, 0.5, 0.5, 0.5], [0.0, 0.9, 0.0, 0.0]]])
    chosen = [highest(heat, 0.25, torch.Generator().manual_seed(seed))[0] for seed in range(12)]
    assert all(one.sum() == 2 and bool(one[1, 1]) for one in chosen)
    assert len({tuple(one.flatten().tolist()) for one in chosen}) > 2
    assert highest(heat, 0.9, torch.Generator())[0].sum() == 5
    assert highest(heat, 0.01, torch.Generator())[0].sum() == 1


def test_cells():
    maps = torch.arange(15.0).view(1, 3, 5)
    means = cell_means(maps, 2)
    assert means.tolist() == [[[3.0, 5.0, 6.5], [10.5, 12.5, 14.0]]]
    assert torch.equal(cell_means(maps, 1), maps)
    assert enlarged(means > 6, 2, torch.Size((3, 5))).int().tolist() == [[[0, 0, 0, 0, 1]] * 2 + [[1] * 5]]


@pytest.mark.parametrize("steps", [1, 3, 50, 224, 999])
def test_parts_and_areas(steps):
    found = parts(1000, steps, torch.device("cpu"))
    assert len(found) == steps + 1
    assert (int(found[0]), int(found[-1])) == (0, 1000)
    assert found.diff().min() >= 1000 // steps
    probability = torch.rand(100, 1, generator=torch.Generator().manual_seed(0))
    assert torch.equal(area(probability.expand(-1, steps + 1)), probability[:, 0].double())
