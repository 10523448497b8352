"""Explanations of one image or several of a batch: numbers, slices, lists, masks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import pellucid
from pellucid.core.explanation import Explanation
from pellucid.errors import ImageIndexError
from tests.core.explanations import ARRAYS, assert_equal
from tests.networks import TinyCNN, images, seeded

LAYERS = ["features.0", "features.2"]


@pytest.fixture
def batch() -> Explanation:
    return pellucid.explain(seeded(TinyCNN), images(4), targets="all", layers=LAYERS)


@pytest.mark.parametrize(
    ("selection", "numbers"),
    [
        (0, [0]),
        (-1, [3]),
        (np.int64(2), [2]),
        (torch.tensor(1), [1]),
        (slice(1, 3), [1, 2]),
        (slice(None, None, 2), [0, 2]),
        (slice(None, None, -1), [3, 2, 1, 0]),
        (slice(9, None), []),
        ([2, 0, -1, 2], [2, 0, 3, 2]),
        ((1,), [1]),
        ([], []),
        (torch.tensor([3, 1]), [3, 1]),
        (np.array([0, 3]), [0, 3]),
        ([True, False, False, True], [0, 3]),
        (torch.tensor([False, True, True, False]), [1, 2]),
        (np.array([False] * 4), []),
    ],
    ids=str,
)
def test_images_are_selected(batch: Explanation, selection: object, numbers: list[int]) -> None:
    chosen = batch[selection]
    assert len(chosen) == len(numbers)
    for mine, whole in [(chosen, batch), *((chosen.by_layer[layer], batch.by_layer[layer]) for layer in LAYERS)]:
        for name in ARRAYS:
            values = getattr(whole, name)
            assert getattr(mine, name).equal(values[torch.tensor(numbers, dtype=torch.long)])
        assert mine.why_degenerate == tuple(whole.why_degenerate[number] for number in numbers)
    assert (chosen.method, chosen.layers, chosen.provenance) == (batch.method, batch.layers, batch.provenance)


def test_figures_are_selected_too() -> None:
    whole = pellucid.explain(seeded(TinyCNN), images(3), "integrated_gradients")
    (name,) = whole.checks
    assert whole[[2, 1]].checks[name].equal(whole.checks[name][[2, 1]])
    assert whole.one(1).checks[name].equal(whole.checks[name][1:2])


@pytest.mark.parametrize(
    ("selection", "text"),
    [
        (4, "image 4 was asked for; there are 4 images, from 0"),
        (-5, "image -5 was asked for; there are 4 images, from 0"),
        ([0, 7], "image 7 was asked for; there are 4 images, from 0"),
        ([True, False], "a mask of 2 flags was given; there are 4 images"),
        (torch.tensor([1.5]), "image 1.5 was asked for; give a number, a slice, a list of numbers or a mask"),
        (True, "image True was asked for; give a number"),
        ("0", "image '0' was asked for; give a number"),
        (None, "image None was asked for; give a number"),
    ],
)
def test_images_that_are_not_there(batch: Explanation, selection: object, text: str) -> None:
    with pytest.raises(ImageIndexError) as caught:
        batch[selection]
    assert str(caught.value).startswith(text)
    assert isinstance(caught.value, IndexError)


def test_iteration_gives_one_image_at_a_time(batch: Explanation) -> None:
    each = list(batch)
    assert len(each) == len(batch) == 4
    for number, one in enumerate(each):
        assert_equal(one, batch.one(number))
        assert one.heatmaps.shape == (1, *batch.heatmaps.shape[1:])
    assert_equal(Explanation.cat(each), batch)


def test_a_column_of_an_image(batch: Explanation) -> None:
    assert batch.one(1, -1).heatmaps.equal(batch.heatmaps[1:2, -1:])
    assert batch.one(1, -1).by_layer[LAYERS[0]].targets.equal(batch.targets[1:2, -1:])
    assert batch.one(1, 0).logits.equal(batch.logits[1:2])
