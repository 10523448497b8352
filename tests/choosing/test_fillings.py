"""What takes the place of pixels: where it does, and that the rest stays to the last bit."""

from __future__ import annotations

import pytest
import torch

from pellucid.choosing.fillings import from_others, named, same_scenes, squares
from pellucid.core.replacement import blurred

IMAGES = torch.rand(3, 2, 16, 16, generator=torch.Generator().manual_seed(0))
NUMBERS = torch.arange(3)


@pytest.mark.parametrize("name", list(named(0)))
def test_only_the_holes_change(name: str) -> None:
    holes = squares((16, 16), 3, 0.1, torch.Generator().manual_seed(1))
    filled = named(0)[name](IMAGES, NUMBERS)
    changed = filled.without(holes, 0)
    outside = ~holes[:, None].expand_as(IMAGES)
    assert torch.equal(changed[outside], IMAGES[outside])
    assert not torch.equal(changed, IMAGES)
    kept = filled.within(holes, 0)
    inside = holes[:, None].expand_as(IMAGES)
    assert torch.equal(kept[inside], IMAGES[inside])


def test_a_blur_is_the_one_of_replacement_drop() -> None:
    assert torch.equal(named(0)["blur 1/8"](IMAGES, NUMBERS).whole(0), blurred(IMAGES))


def test_noise_does_not_depend_on_the_batch() -> None:
    make = named(3)["noise"]
    alone = make(IMAGES[1:2], torch.tensor([1])).whole(0)
    assert torch.equal(make(IMAGES, NUMBERS).whole(0)[1:2], alone)
    twice = make(IMAGES[:1].expand(2, -1, -1, -1), torch.tensor([0, 1])).whole(0)
    assert not torch.equal(twice[0], twice[1])  # each image has noise of its own
    many = make(torch.rand(1, 1, 200, 200) * 3 + 5, torch.tensor([0])).whole(0)
    assert many.mean() == pytest.approx(6.5, abs=0.05)


def test_inpainting_of_everything_leaves_a_frame() -> None:
    whole = named(0)["inpainting"](IMAGES, NUMBERS).whole(0)
    assert torch.equal(whole[..., 0, :], IMAGES[..., 0, :])
    assert torch.equal(whole[..., :, -1], IMAGES[..., :, -1])
    assert not torch.equal(whole[..., 5, 5], IMAGES[..., 5, 5])
    flat = torch.full((1, 1, 16, 16), 0.3)
    assert named(0)["inpainting"](flat, NUMBERS[:1]).whole(0) == pytest.approx(0.3, abs=1e-5)


def test_tissue_is_that_of_the_chosen_others_at_the_same_place() -> None:
    others = torch.rand(5, 2, 16, 16)
    chosen = torch.tensor([[4, 0], [1, 2], [3, 3]])
    filled = from_others(others, chosen)(IMAGES[1:], torch.tensor([1, 2]))
    assert filled.draws == 2
    assert torch.equal(filled.whole(0), others[[1, 3]])
    assert torch.equal(filled.whole(1), others[[2, 3]])


def test_same_scenes() -> None:
    others = torch.rand(3, 2, 16, 16)
    assert torch.equal(same_scenes(others)(IMAGES[2:], torch.tensor([2])).whole(0), others[2:])


@pytest.mark.parametrize("space", [(20, 30), (8, 10, 12)])
def test_boxes_have_the_share_and_lie_inside(space: tuple[int, ...]) -> None:
    holes = squares(space, 50, 0.1, torch.Generator().manual_seed(0))
    shares = holes.flatten(1).double().mean(1)
    assert shares.unique().numel() == 1
    assert shares[0].item() == pytest.approx(0.1, abs=0.04)
    assert len({tuple(one.nonzero()[0].tolist()) for one in holes}) > 10
