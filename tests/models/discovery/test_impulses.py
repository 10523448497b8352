"""Where layers change most when a part of an image is changed, and what proves that their positions are elsewhere."""

from __future__ import annotations

import itertools
import random

import pytest
import torch
from torch import Tensor, nn

from pellucid.core.inputs import Inputs
from pellucid.core.runtime import Runtime
from pellucid.models.discovery import impulses
from pellucid.models.discovery.impulses import (
    Peak,
    are_moved,
    centres_of,
    followed,
    is_at_by_chance,
    noise_images,
    peaks,
)
from pellucid.models.discovery.tokens import Layout
from pellucid.models.session.session import Session
from tests.networks import images, seeded

GRID = (8, 8)
CENTRES = centres_of(2)
HERE: list[Peak] = [(4, 4), (1, 1), (1, 6), (6, 1), (6, 6)]
"""The cells where the image is changed."""


def mirrored(places: list[Peak]) -> list[Peak]:
    return [None if place is None else (place[0], 7 - place[1]) for place in places]


class Local(nn.Module):
    """A map that depends on its own places alone, and its mirror image."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 4, 4), nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x).flip(3)).mean((2, 3))


LAYOUTS = {name: [Layout("channels_first", GRID)] for name in ("first", "second")}


@pytest.mark.parametrize("most", [6, 5, 1])
def test_peaks_lie_where_the_image_was_changed_whatever_a_pass_holds(
    most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Few(Local):
        def forward(self, x: Tensor) -> Tensor:
            if len(x) > most:
                raise ValueError("too many images")
            return super().forward(x)

    session = Session.of(seeded(Few).eval(), Runtime())
    for one in noise_images(Inputs.of(images(1, side=32))):
        found = peaks(session, one, LAYOUTS, CENTRES)
        assert {name: followed(own[LAYOUTS[name][0]], GRID, CENTRES) for name, own in found.items()} == {
            "first": 5,
            "second": 1,
        }
        assert followed(mirrored(found["second"][LAYOUTS["second"][0]]), GRID, CENTRES) == 5


def test_large_images_are_passed_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    session, passes = Session.of(seeded(Local).eval(), Runtime()), []
    session.network.register_forward_pre_hook(lambda _module, given: passes.append(len(given[0])))
    one = next(noise_images(Inputs.of(images(1, side=32))))
    peaks(session, one, LAYOUTS, CENTRES)
    monkeypatch.setattr(impulses, "_MOST_VALUES", 2 * 3 * 32 * 32 - 1)
    alone = peaks(session, one, LAYOUTS, CENTRES)
    assert passes == [6, *[1] * 6]
    assert set(alone) == {"first", "second"}


def test_a_layer_whose_batch_is_not_the_images_is_left_out() -> None:
    class Twice(Local):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + self.first(torch.cat([x, x])).mean((2, 3))[: len(x)]

    session = Session.of(seeded(Twice).eval(), Runtime())
    one = next(noise_images(Inputs.of(images(1, side=32))))
    assert set(peaks(session, one, LAYOUTS, CENTRES)) == {"second"}


def test_what_lies_where_it_was_changed_is_not_moved() -> None:
    assert not are_moved((HERE, HERE), GRID, CENTRES)


def test_what_lies_elsewhere_in_both_images_is_moved() -> None:
    there = mirrored(HERE)
    assert are_moved((there, there), GRID, CENTRES)
    assert are_moved((there, [(3, 3), *there[1:]]), GRID, CENTRES), "by a cell"
    assert are_moved((there, [(0, 0), *there[1:]]), GRID, CENTRES), "one of five may differ"
    assert are_moved(([*there[:3], None, None],) * 2, GRID, CENTRES), "what is pushed out of the map changes nothing"


@pytest.mark.parametrize(
    "other",
    [
        HERE,
        mirrored(mirrored(HERE)),
        [(0, 0), (7, 7), *mirrored(HERE)[2:]],
        [*mirrored(HERE)[:3], None, None],
        [None] * 5,
    ],
)
def test_another_place_in_each_image_proves_nothing(other: list[Peak]) -> None:
    assert not are_moved((mirrored(HERE), other), GRID, CENTRES)
    assert not are_moved((other, mirrored(HERE)), GRID, CENTRES)


def test_peaks_of_an_oblong_image_are_by_rows_and_columns() -> None:
    session, grid = Session.of(seeded(Local).eval(), Runtime()), (5, 16)
    oblong = Layout("channels_first", grid)
    found = peaks(session, Inputs.of(torch.rand(1, 3, 20, 64)), {"first": [oblong]}, CENTRES)
    assert followed(found["first"][oblong], grid, CENTRES) == 5


def test_one_cell_for_every_change_is_no_place() -> None:
    everywhere: list[Peak] = [(1, 6)] * 5
    assert not are_moved((everywhere, everywhere), GRID, CENTRES)
    assert not are_moved(([None] * 5, [None] * 5), GRID, CENTRES), "nothing changes"


def test_one_peak_elsewhere_is_not_enough() -> None:
    one: list[Peak] = [(4, 0), *HERE[1:]]
    assert not are_moved((one, one), GRID, CENTRES)


def test_small_grids_prove_nothing() -> None:
    few: list[Peak] = [(2, 2), (0, 3), (0, 0), (3, 3), (3, 0)]
    assert not are_moved((few, few), (4, 4), CENTRES)
    there: list[Peak] = [(2, 2), (0, 4), (0, 0), (4, 4), (4, 0)]
    assert are_moved((there, there), (5, 5), CENTRES)


def test_peaks_anywhere_hardly_ever_prove_a_move() -> None:
    draw = random.Random(0)
    cells = list(itertools.product(range(8), repeat=2))
    proven = sum(are_moved((draw.choices(cells, k=5), draw.choices(cells, k=5)), GRID, CENTRES) for _ in range(2000))
    assert proven <= 20


@pytest.mark.parametrize("grid", [(4, 4), (7, 5), (3, 6, 4)])
def test_the_probability_of_a_chance_hit_is_counted_cell_by_cell(grid: tuple[int, ...]) -> None:
    for centre in centres_of(len(grid)):
        cells = list(itertools.product(*map(range, grid)))
        assert is_at_by_chance(centre, grid) == pytest.approx(
            sum(followed([cell], grid, [centre]) for cell in cells) / len(cells)
        )
