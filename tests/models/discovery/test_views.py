"""What looks see of the image: frames, members, orders of entries; ``tests/run/test_views.py`` has the maps."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from pellucid.core.inputs import Inputs
from pellucid.core.runtime import Runtime
from pellucid.core.view import WHOLE, View
from pellucid.models.discovery.recording import profile_of
from pellucid.models.discovery.views import Sight
from pellucid.models.session.session import Session
from tests.networks import seeded

Change = Callable[[Tensor], Tensor]


class Seeing(nn.Module):
    """One convolution over what a change makes of the image."""

    def __init__(self, change: Change, channels: int = 3) -> None:
        super().__init__()
        self.change = change
        self.stem, self.fc = nn.Conv2d(channels, 4, 3, 2, 1), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.stem(self.change(x)).mean((2, 3)).unflatten(0, (len(x), -1)).mean(1))


def sight(change: Change, shape: tuple[int, ...] = (3, 40, 60), channels: int = 3) -> Sight:
    model = seeded(Seeing, change, channels).eval()
    (found,) = profile_of(Session.of(model, Runtime()), Inputs.of(torch.rand(1, *shape))).sights
    return found


def pieces(view: View | None) -> list[tuple[int, list[tuple[float, float]]]]:
    assert view is not None
    return [(axis.follows, [(round(a, 4), round(b, 2)) for a, b in axis.pieces]) for axis in view.axes]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda x: x[..., 5:37, 10:50], [(0, [(1, -5)]), (1, [(1, -10)])]),
        (lambda x: x.flip(3), [(0, [(1, 0)]), (1, [(-1, 60)])]),
        (lambda x: x.roll(20, 3), [(0, [(1, 0)]), (1, [(1, 20), (1, -40)])]),
        (lambda x: x.roll(3, 3), [(0, [(1, 0)]), (1, [(1, 3), (1, -57)])]),
        (lambda x: x.transpose(2, 3), [(1, [(1, 0)]), (0, [(1, 0)])]),
        (lambda x: x[..., ::2, 30:], [(0, [(0.5, 0.25)]), (1, [(1, -30)])]),
        (lambda x: x[..., 10:].clamp(0, 1).log1p(), [(0, [(1, 0)]), (1, [(1, -10)])]),
        (lambda x: torch.vmap(lambda one: one.flip(2))(x), [(0, [(1, 0)]), (1, [(-1, 60)])]),
    ],
)
def test_frames_are_found_exactly(change: Change, expected: object) -> None:
    found = sight(change)
    assert len(found.views) == 1
    assert pieces(found.views[0]) == expected


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x,
        lambda x: x * 2 - 1,
        lambda x: (x - x.mean()) / x.std(),
        lambda x: nn.functional.pad(x, (1, 1, 1, 1)),
        lambda x: nn.functional.interpolate(x, (80, 120)),
        lambda x: torch.from_numpy(2 * x.detach().numpy()),
        lambda x: (x * 255).round() / 255,  # no gradient leads back: it counts as the whole
    ],
)
def test_the_whole_image(change: Change) -> None:
    assert sight(change) == Sight((WHOLE,))


def test_entries_and_their_order() -> None:
    both = sight(lambda x: torch.stack([x, x.flip(3)]).flatten(0, 1))
    assert both.by_entry
    assert both.views[0] == WHOLE
    assert pieces(both.views[1]) == [(0, [(1, 0)]), (1, [(-1, 60)])]
    assert not sight(lambda x: torch.stack([x, x.flip(3)], 1).flatten(0, 1)).by_entry
    crops = sight(lambda x: torch.stack([x[..., :20, :30], x[..., 20:, 30:]], 1).flatten(0, 1))
    assert [pieces(view)[1] for view in crops.views] == [(1, [(1, 0)]), (1, [(1, -30)])]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_along_each_axis_of_a_volume(axis: int) -> None:
    found = sight(lambda x: x.movedim(2 + axis, 1).flatten(0, 1), (1, 6, 8, 10), 1)
    assert [view and (view.member, view.along, view.axes) for view in found.views] == [
        (number, axis, ()) for number in range((6, 8, 10)[axis])
    ]


def test_a_place_that_follows_the_image_is_none() -> None:
    def brightest(x: Tensor) -> Tensor:
        left = int(x[0].mean((0, 1)).argmax().clamp(max=40))
        return x[..., left : left + 20]

    assert sight(brightest) == Sight((None,))
    random_field = sight(lambda x: nn.functional.grid_sample(x, torch.rand(1, 9, 9, 2) * 2 - 1, align_corners=False))
    assert random_field == Sight((None,))


def _bright(x: Tensor) -> Tensor:
    """A crop of half the width from the first bright column on."""
    left = int((x > 0.1).flatten(0, 2).any(0).int().argmax())
    return x[..., left : left + 30]


def _turned(x: Tensor, degrees: float) -> Tensor:
    angle = torch.tensor(degrees).deg2rad()
    matrix = torch.stack([angle.cos(), -angle.sin(), angle * 0, angle.sin(), angle.cos(), angle * 0]).reshape(1, 2, 3)
    grid = nn.functional.affine_grid(matrix.expand(len(x), -1, -1), list(x.shape), align_corners=False)
    return nn.functional.grid_sample(x, grid, align_corners=False)


NOTHING_FIXED: dict[str, Change] = {
    "a crop to what is bright": _bright,
    "turned by 10 degrees": lambda x: _turned(x, 10),
    "turned by 30 degrees": lambda x: _turned(x, 30),
    "halves added": lambda x: x[..., :30] + x[..., 30:],
    "added to a roll of itself": lambda x: x + x.roll(30, 3),
    "mirrored without a gradient": lambda x: x.detach().flip(3),
    "mirrored by NumPy": lambda x: torch.from_numpy(x.detach().numpy()[..., ::-1].copy()),
    "mirrored and rounded": lambda x: (x.flip(3) * 255).byte() / 255,
}


@pytest.mark.parametrize("name", NOTHING_FIXED)
def test_what_is_no_fixed_part_is_none(name: str) -> None:
    assert sight(NOTHING_FIXED[name]) == Sight((None,))


def test_halves_as_channels_are_none() -> None:
    assert sight(lambda x: torch.cat([x[..., :30], x[..., 30:]], 1), channels=6) == Sight((None,))


def test_what_a_first_image_shows_decides_nothing() -> None:
    model = seeded(Seeing, lambda x: x.flip(3)).eval()
    blank = Inputs.of(torch.zeros(1, 3, 40, 60))
    (found,) = profile_of(Session.of(model, Runtime()), blank).sights
    assert pieces(found.views[0]) == [(0, [(1, 0)]), (1, [(-1, 60)])]


def test_a_crop_before_large_patches_is_a_crop() -> None:
    class Patched(Seeing):
        def __init__(self) -> None:
            super().__init__(lambda x: x[..., 8:-8, 8:-8])
            self.stem, self.fc = nn.Conv2d(3, 8, 16, 16), nn.Linear(8, 2)

    (found,) = profile_of(Session.of(seeded(Patched).eval(), Runtime()), Inputs.of(torch.rand(1, 3, 80, 96))).sights
    assert pieces(found.views[0]) == [(0, [(1, -8)]), (1, [(1, -8)])]


@pytest.mark.parametrize(
    "change",
    [
        lambda x: (x - x.mean((1, 2, 3, 4), keepdim=True)) / x.std((1, 2, 3, 4), keepdim=True),
        lambda x: x - x.mean(2, keepdim=True),
        lambda x: x - 0.2 * x.roll(1, 2),
    ],
)
def test_members_share_statistics(change: Change) -> None:
    found = sight(lambda x: change(x).movedim(2, 1).flatten(0, 1), (1, 6, 24, 20), 1)
    assert [view and (view.member, view.axes) for view in found.views] == [(number, ()) for number in range(6)]


def test_differences_of_neighbours_are_no_members() -> None:
    found = sight(lambda x: (x[:, :, 1:] - x[:, :, :-1]).movedim(2, 1).flatten(0, 1), (1, 6, 24, 20), 1)
    assert set(found.views) == {None}
