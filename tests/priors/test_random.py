"""The random prior: its maps, where their peaks are, and the mean of metrics over draws."""

from __future__ import annotations

import itertools
import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

import pellucid
from pellucid.core.metric import Values
from pellucid.errors import OptionError
from pellucid.metrics import PointingGame
from pellucid.metrics.pointing import peaks, pointing_hits
from pellucid.priors import Random
from pellucid.priors.random import _orders
from pellucid.run.chance import _mean
from tests.metrics.judging import random_masks
from tests.networks import TinyCNN, images, seeded
from tests.priors import naive

SPACES = [(7, 7), (8, 13), (24, 31), (224, 224), (5, 40), (9, 12, 20), (1, 14)]

PERMUTED = torch.randperm

TARGETS = torch.tensor([[0, 1], [1, 2]])


def grid_of(prior: Random, space, seed=0) -> np.ndarray:
    """The values of the cells, read at their central pixels."""
    sides = [min(prior.cells, side) for side in space]
    centres = [[math.floor((cell + 0.5) * side / n) for cell in range(n)] for side, n in zip(space, sides, strict=True)]
    return prior.map_on(space, seed, prior.draw).numpy()[np.ix_(*centres)]


@pytest.mark.parametrize("space", SPACES)
def test_a_map_is_linear_between_random_cells(space):
    prior = Random(draw=3)
    grid = grid_of(prior, space)
    assert np.allclose(np.sort(grid.ravel()) * grid.size, range(1, grid.size + 1))  # each value once
    assert np.allclose(prior.map_on(space, 0, 3).numpy(), naive.random(grid, space), atol=1e-6)


def test_draws_and_seeds_differ_and_stay():
    prior = Random()
    maps = [prior.map_on((20, 20), seed, draw) for seed in (0, 1) for draw in (0, 1, 2)]
    assert all(not torch.equal(a, b) for a, b in itertools.combinations(maps, 2))
    assert torch.equal(prior.map_on((20, 20), 1, 2), maps[-1])
    runtime = pellucid.Runtime(seed=1)
    found = pellucid.explain(seeded(TinyCNN), images(3), method=Random(draw=2), runtime=runtime).attributions
    expected = prior.map_on(tuple(images(3).shape[2:]), 1, 2)
    assert torch.equal(found, expected.expand(3, 1, *expected.shape))


def order_from_the_seed(count, seed, draw) -> torch.Tensor:
    """An order that is drawn after all earlier ones, from the seed on."""
    source = torch.Generator().manual_seed(seed)
    return [PERMUTED(count, generator=source) for _ in range(draw + 1)][-1]


def from_the_seed(space, seed, draw) -> np.ndarray:
    """A map of such an order."""
    sides = [min(7, side) for side in space]
    order = order_from_the_seed(math.prod(sides), seed, draw)
    return naive.random(((order + 1) / len(order)).reshape(sides).numpy(), space)


@pytest.fixture
def ordered(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of cells of each order that is drawn from here on, with nothing known of earlier ones."""
    drawn: list[int] = []

    def counting(count, **options):
        drawn.append(count)
        return PERMUTED(count, **options)

    _orders.cache_clear()
    monkeypatch.setattr(torch, "randperm", counting)
    return drawn


def test_draws_one_after_another_cost_one_order_each(ordered):
    maps = [Random().map_on((9, 11), 5, draw) for draw in range(40)]
    assert len(ordered) == 40  # 820, if each draw started from the seed
    for draw in (0, 17, 39):
        assert np.allclose(maps[draw].numpy(), from_the_seed((9, 11), 5, draw), atol=1e-6)


def test_draws_in_any_order_are_the_same(ordered):
    asked = [(3, (9, 11), 0), (3, (9, 11), 0), (1, (9, 11), 0), (7, (9, 11), 0), (4, (5, 6), 0), (7, (9, 11), 1)]
    for draw, space, seed in [*asked, *reversed(asked)]:
        found = Random(draw=draw).map_on(space, seed, draw)
        assert np.allclose(found.numpy(), from_the_seed(space, seed, draw), atol=1e-6)
        count = math.prod(min(7, side) for side in space)
        assert torch.equal(_orders(count, seed).of(draw), order_from_the_seed(count, seed, draw))
    assert {30, 49} == set(ordered)


def test_every_metric_and_batch_draws_each_order_once(ordered):
    space, masks = (24, 31), random_masks(6, (24, 31))
    runtime = pellucid.Runtime(batch_size=2)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.LazyLinear(2))
    network(torch.rand(1, 1, *space))
    given, metrics = torch.rand(6, 1, *space), ["iou", "relevance_mass"]
    ordered.clear()
    pellucid.evaluate(network, given, Random(draws=20), masks=masks, metrics=metrics, runtime=runtime)
    assert ordered.count(49) <= 20 * len(metrics) * 3 + 3


def test_threads_get_the_orders_of_their_draws(ordered):
    expected = [from_the_seed((9, 11), 2, draw) for draw in range(30)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda draw: Random().map_on((9, 11), 2, draw), [*range(30), *reversed(range(30))]))
    for one, other in zip(found, [*expected, *reversed(expected)], strict=True):
        assert np.allclose(one.numpy(), other, atol=1e-6)


def test_an_interrupted_draw_leaves_the_later_ones_as_they_are(monkeypatch: pytest.MonkeyPatch):
    Random().map_on((9, 11), 6, 2)
    with monkeypatch.context() as patched:
        patched.setattr(torch, "randperm", interrupted_after(3))
        with pytest.raises(KeyboardInterrupt):
            Random().map_on((9, 11), 6, 8)
    for draw in (4, 8):
        found = Random().map_on((9, 11), 6, draw)
        assert np.allclose(found.numpy(), from_the_seed((9, 11), 6, draw), atol=1e-6)


def interrupted_after(count):
    """``torch.randperm``, and Ctrl-C after some calls."""
    left = iter(range(count))

    def drawing(*args, **options):
        if next(left, None) is None:
            raise KeyboardInterrupt
        return PERMUTED(*args, **options)

    return drawing


@pytest.mark.parametrize("space", SPACES)
def test_peaks_are_those_that_the_pointing_game_finds(space):
    """Of a map in which one cell is highest, whatever the others are."""
    prior, source = Random(), np.random.default_rng(0)
    sides = [min(prior.cells, side) for side in space]
    expected = prior.peaks(space).tolist()
    assert len(expected) == math.prod(sides)
    for number in range(0, math.prod(sides), max(1, math.prod(sides) // 60)):
        grid = source.permutation(math.prod(sides) - 1) + 1.0
        grid = np.insert(grid, number, math.prod(sides) + 1).reshape(sides)
        (found,) = peaks(torch.from_numpy(naive.random(grid, space))[None]).tolist()
        assert found == expected[number]


@pytest.mark.parametrize(("space", "tolerance"), [((23, 31), 0), ((23, 31), 3), ((40, 56), 5), ((9, 12, 20), 1)])
def test_the_probability_of_a_hit_is_the_share_of_simulated_ones(space, tolerance):
    count = 1000
    source = torch.Generator().manual_seed(0)
    mask = torch.zeros(1, *space, dtype=torch.bool)
    mask[0, : space[0] // 3, space[1] // 2 :] = True  # up to the border
    mask[0, -1:] = True
    grid = [7] * len(space)
    drawn = Random()
    maps = torch.stack([drawn.map_on(space, int(seed), 0) for seed in torch.randint(2**40, (count,), generator=source)])
    assert len({tuple(one) for one in peaks(maps).tolist()}) > math.prod(grid) / 3
    hits = pointing_hits(maps, mask.expand(count, *space), tolerance).double().mean().item()
    scores = evaluated(space, mask, [PointingGame(tolerance=tolerance)])
    expected = scores.figure(next(iter(scores)))
    assert 0.1 < expected < 0.9
    assert hits == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / count))


def evaluated(space, masks, metrics, prior="random", seed=0):
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.LazyLinear(2))
    given = torch.rand(len(masks), 1, *space)
    network(given)
    return pellucid.evaluate(network, given, prior, masks=masks, metrics=metrics, seed=seed)


def test_a_metric_is_the_mean_over_draws():
    space, masks = (24, 31), random_masks(2, (24, 31))
    found = evaluated(space, masks, ["relevance_mass", "iou", "auprc", "sparseness"], Random(draws=5), seed=3)
    maps = torch.stack([Random().map_on(space, 3, draw) for draw in range(5)])
    for name in found:
        each = [evaluated(space, masks, [name], one.expand(2, *space))[name] for one in maps]
        heat = [(one - one.min()) / (one.max() - one.min()) for one in maps]  # as explanations are scaled
        each = [evaluated(space, masks, [name], one.expand(2, *space))[name] for one in heat]
        assert torch.allclose(found[name], torch.stack(each).mean(0), atol=1e-6)
        assert not torch.allclose(found[name], each[0], atol=1e-4)


def test_an_explanation_by_the_random_prior_is_judged_over_its_draws():
    given, masks = images(2), random_masks(2, tuple(images(2).shape[2:]))
    metrics = ["pointing_game", "relevance_mass"]
    explanation = pellucid.explain(seeded(TinyCNN), given, method=Random(draws=4, draw=1), targets=TARGETS)
    found = pellucid.evaluate(seeded(TinyCNN), given, explanation, masks=masks, metrics=metrics)
    again = pellucid.evaluate(seeded(TinyCNN), given, Random(draws=4), targets=TARGETS, masks=masks, metrics=metrics)
    one = pellucid.evaluate(seeded(TinyCNN), given, explanation.heatmaps, targets=TARGETS, masks=masks, metrics=metrics)
    for name in metrics:
        assert found[name].shape == (2, 2)
        assert torch.equal(found[name], again[name])
        assert not torch.allclose(found[name], one[name])


def test_cases_without_a_mask_stay_without_a_value():
    scores = evaluated((24, 31), [None, {"boxes": [(0, 0, 31, 24)]}], ["pointing_game", "iou"], Random(draws=2))
    for name in scores:
        assert scores.reasons[name] == (("no mask",), (None,))
    assert scores["pointing_game"][1].item() == 1


@pytest.mark.parametrize("options", [{"cells": 1}, {"draws": 0}, {"draw": -1}, {"cells": True}, {"draws": True}])
def test_options_outside_their_range_are_refused(options):
    with pytest.raises(OptionError, match="cells must be at least 2"):
        Random(**options)


def test_a_prior_that_never_sees_the_image_does_not_change_with_it():
    for given in (Random(draws=2), "centre"):
        scores = evaluated((24, 24), [None, None], ["max_sensitivity"], given, seed=3)
        assert scores["max_sensitivity"].tolist() == [[0], [0]]
    assert evaluated((24, 24), [None, None], ["max_sensitivity"], "edges", seed=3).figure("max_sensitivity") > 0
    explanation = pellucid.explain(seeded(TinyCNN), images(2), method=Random(draws=2), runtime=pellucid.Runtime(seed=4))
    scores = pellucid.evaluate(seeded(TinyCNN), images(2), explanation, metrics=["max_sensitivity"])
    assert scores["max_sensitivity"].tolist() == [[0], [0]]


def test_what_is_known_of_one_draw_is_known_of_the_mean():
    yes, no = torch.tensor([True, False, False]), torch.zeros(3, dtype=torch.bool)
    draws = [
        Values(torch.tensor([1.0, 2.0, 3.0]), {"lost": yes}, {"odd": no}, {"layer": torch.tensor([0.0, 1.0, 2.0])}),
        Values(torch.tensor([3.0, 4.0, 7.0]), {}, {"odd": yes.flip(0)}, {"layer": torch.tensor([0.0, 3.0, 4.0])}),
    ]
    found = _mean(draws)
    assert found.values.tolist() == pytest.approx([math.nan, 3, 5], nan_ok=True)
    assert found.reasons() == ("lost", None, None)
    assert found.notes["odd"].tolist() == [False, False, True]
    assert found.steps["layer"].tolist() == pytest.approx([math.nan, 2, 3], nan_ok=True)
