"""Affine pieces are fitted through places of a frame and where they lie in the image."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from pellucid.core.view import FrameAxis
from pellucid.models.discovery.frame_axes import agree, axis_through, is_whole

PLACES = [2.5, 7.5, 12.5, 17.5, 22.5, 27.5]
SPACE = (40, 60)


def axis(where: Callable[[float], float], follows: int = 1) -> FrameAxis | None:
    """The axis whose place u lies at ``where(u)`` along one axis of two images, and at 20 along the other."""
    points = torch.full((len(PLACES), 2, 2), 20.0)
    points[:, :, follows] = torch.tensor([where(place) for place in PLACES]).unsqueeze(1)
    return axis_through(PLACES, points, SPACE)


@pytest.mark.parametrize(
    ("where", "follows", "pieces"),
    [
        (lambda u: u + 10, 1, ((1, -10),)),
        (lambda u: 40 - u, 0, ((-1, 40),)),
        (lambda u: 2 * u + 3, 1, ((0.5, -1.5),)),
        (lambda u: u - 15 if u > 15 else u + 45, 1, ((1, 15), (1, -45))),
        (lambda u: float("nan") if u < 5 else u - 5, 0, ((1, 5),)),
    ],
)
def test_pieces(where: Callable[[float], float], follows: int, pieces: tuple[tuple[float, float], ...]) -> None:
    found = axis(where, follows)
    assert found is not None
    assert found.follows == follows
    assert [number for piece in sorted(found.pieces) for number in piece] == pytest.approx(
        [number for piece in sorted(pieces) for number in piece]
    )


def test_no_line_is_no_axis() -> None:
    assert axis(lambda u: u**2 % 37) is None
    assert axis(lambda u: 20.0) is None, "every place of the frame at one of the image"
    turned = torch.tensor([[[u, u], [u, u]] for u in PLACES])
    assert axis_through(PLACES, turned, SPACE) is None, "turned"
    points = torch.full((len(PLACES), 2, 2), 20.0)
    points[:, 0, 1], points[:, 1, 1] = torch.tensor(PLACES), torch.tensor(PLACES) + 9
    assert axis_through(PLACES, points, SPACE) is None, "another place in each image"


def test_axes_agree_to_a_pixel() -> None:
    one = FrameAxis(1, ((1.0, -10.0),))
    assert agree(one, FrameAxis(1, ((1.0, -10.8),)), 60)
    assert not agree(one, FrameAxis(1, ((1.0, -11.5),)), 60)
    assert not agree(one, FrameAxis(0, ((1.0, -10.0),)), 60)


def test_what_padding_adds_is_still_the_whole() -> None:
    assert is_whole(FrameAxis(0, ((1.0, 1.0),)), 60, 62, 3)
    assert not is_whole(FrameAxis(0, ((1.0, 5.0),)), 60, 70, 3)
    assert not is_whole(FrameAxis(0, ((1.0, -6.0),)), 60, 48, 3)
    assert not is_whole(FrameAxis(0, ((-1.0, 60.0),)), 60, 60, 3)
