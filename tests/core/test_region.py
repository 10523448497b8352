"""Regions of maps of logits (B, C, H, W): their positions, their means, and what is no region."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pellucid.core.region import Region
from pellucid.core.target import Targets
from pellucid.errors import TargetError

NAMES = ("normal", "effusion", "Nodule")


MAPS = torch.randn(2, 3, 4, 6, generator=torch.Generator().manual_seed(4))


MASK = torch.rand(4, 6, generator=torch.Generator().manual_seed(5)) > 0.5


def fitted(request: object, size: tuple[int, ...] = (4, 6), **more: object) -> Targets:
    return Targets(request, NAMES, **more).fitted(2, size)


def test_a_region_is_taken_apart() -> None:
    region = Region("nodule", MASK)
    targets = Targets(region, NAMES)
    assert (targets.request, targets.within) == ("nodule", region)
    assert targets.indices(MAPS).tolist() == [[2], [2]]
    assert targets.count(MAPS) == 1
    torch.testing.assert_close(targets.scores(MAPS), MAPS[:, 2][:, MASK].mean(dim=1, keepdim=True))


@pytest.mark.parametrize("head", ["softmax", "sigmoid"])
def test_resolved_positions_stay_where_they_were(head: str) -> None:
    targets = fitted(Region(1), head=head)
    positions = MAPS[:, 1] > 0 if head == "sigmoid" else MAPS.argmax(dim=1) == 1
    resolved = targets.resolved(MAPS)
    other = MAPS.roll(1, dims=-1)
    for found, where in ((resolved, positions), (targets, positions.roll(1, dims=-1))):
        expected = torch.stack([other[image, 1][where[image]].mean() for image in range(2)])
        torch.testing.assert_close(found.scores(other), expected[:, None])
    one = resolved.images(1, 2).repeated(3)
    expected = MAPS[1, 1][positions[1]].mean().expand(3, 1)
    torch.testing.assert_close(one.scores(MAPS[1:].expand(3, -1, -1, -1)), expected)
    torch.testing.assert_close(resolved.mirrored().scores(MAPS.flip(-1)), resolved.scores(MAPS))


def test_a_callable_within_a_region_sees_the_means_there() -> None:
    targets = fitted(Region(1, MASK)).scored_by(lambda logits: logits[:, :2])
    torch.testing.assert_close(targets.scores(MAPS), MAPS[:, :2][:, :, MASK].mean(dim=2))


def test_without_a_position_score_and_gradient_are_zero() -> None:
    logits = MAPS.clone().requires_grad_()
    masks = torch.stack([MASK, torch.zeros_like(MASK)])
    scores = fitted(Region(0, masks)).scores(logits)
    assert scores[1].tolist() == [0]
    scores.sum().backward()
    assert not logits.grad[1].any()
    torch.testing.assert_close(logits.grad[0, 0], MASK / MASK.sum())
    assert not logits.grad[0, 1:].any()


def test_a_position_beside_a_logit_that_is_no_number() -> None:
    logits = MAPS.clone()
    logits[:, :, ~MASK] = float("nan")
    torch.testing.assert_close(fitted(Region(0, MASK)).scores(logits), MAPS[:, 0][:, MASK].mean(dim=1, keepdim=True))


@pytest.mark.parametrize("size", [(8, 12), (12, 6)])
def test_masks_of_the_inputs_size(size: tuple[int, int]) -> None:
    large = MASK.repeat_interleave(size[0] // 4, 0).repeat_interleave(size[1] // 6, 1)
    found = fitted(Region(1, large), size).scores(MAPS)
    torch.testing.assert_close(found, fitted(Region(1, MASK), size).scores(MAPS))


@pytest.mark.parametrize(
    ("class_", "mask", "message"),
    [
        (1, torch.ones(4, 6), "a Region's mask must be a bool tensor or array, got torch.float32: write mask > 0, say"),
        (1, np.ones((4, 6)), "a Region's mask must be a bool tensor or array, got float64: write mask > 0, say"),
        (1, [[True]], "a Region's mask must be a bool tensor or array, got list: write mask > 0, say"),
        (True, None, "a target must be 'predicted', 'all', a class's number or name, got bool"),
        (1.5, None, "a target must be 'predicted', 'all', a class's number or name, got float"),
        ([1], None, "a target must be 'predicted', 'all', a class's number or name, got list"),
        (10**30, None, f"class {10**30} was asked for; no model has that many"),
    ],
)
def test_regions_that_cannot_be(class_: object, mask: object, message: str) -> None:
    with pytest.raises(TargetError) as error:
        Region(class_, mask)
    assert str(error.value) == message


def test_regions_in_a_list() -> None:
    with pytest.raises(
        TargetError, match=r"a Region was given in a list; give one Region, with a mask \(B, \*space\)$"
    ):
        Targets([Region(1), Region(0)]).scores(MAPS)
