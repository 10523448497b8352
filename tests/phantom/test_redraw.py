"""A region drawn again: the rest of the scene stays, bit for bit, and what is drawn has the distribution of the set."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import numpy as np
import pytest
import torch
from torch import Tensor

from pellucid import phantom
from pellucid.errors import OptionError
from pellucid.phantom import FINDINGS, Phantoms, radiographs, redraw, volumes
from pellucid.phantom.lesions import RADIOGRAPH

DRAWINGS = {
    "radiographs": lambda **k: radiographs(5, size=64, seed=4, **k),
    "volumes": lambda **k: volumes(5, seed=4, size=32, **k),
}


def extent(phantoms: Phantoms, index: int, kind: str) -> Tensor:
    """The pixels that a finding can change: those that differ without it, in any of several draws, and its mask."""
    healthy = redraw(phantoms, index, kind, seeds=range(20)).images[:, 0]
    return (healthy != phantoms.images[index, 0]).any(0) | phantoms.masks[index, FINDINGS.index(kind)]


def test_naming_what_an_image_has_changes_nothing() -> None:
    drawn = radiographs(29, size=48, seed=3)
    for index, labels in enumerate(drawn.labels.tolist()):
        named = tuple(itertools.compress(FINDINGS, labels))
        same = radiographs(index + 1, size=48, seed=3, findings=named)
        assert torch.equal(same.images[index], drawn.images[index])
        assert torch.equal(same.masks[index], drawn.masks[index])


@pytest.mark.parametrize("name", DRAWINGS)
@pytest.mark.parametrize("kind", FINDINGS)
def test_a_finding_is_taken_out_and_nothing_else_changes(name: str, kind: str) -> None:
    other = FINDINGS[FINDINGS.index(kind) - 1]
    drawn = DRAWINGS[name](findings=(kind, other))
    here, there = FINDINGS.index(kind), FINDINGS.index(other)
    for index in range(2):
        again = redraw(drawn, index, kind, seeds=[0, 1])
        assert not again.labels[:, here].any()
        assert not again.masks[:, here].any()
        assert (again.masks[:, there] == drawn.masks[index, there]).all()
        outside = ~extent(drawn, index, kind)
        assert torch.equal(again.images[0, 0][outside], drawn.images[index, 0][outside])
        assert outside.float().mean() > 0.7
        # Where the mask is, the image is another, and its noise, too.
        mask = drawn.masks[index, here]
        assert (again.images[0, 0] != drawn.images[index, 0])[mask].float().mean() > 0.95
        assert (again.images[0, 0] != again.images[1, 0])[mask].float().mean() > 0.95
        if kind != "cavity":  # that is darker in its middle
            assert (drawn.images[index, 0] - again.images[0, 0])[mask].mean() > 0.02


@pytest.mark.parametrize("name", DRAWINGS)
def test_a_region_without_findings_gets_one_that_stays_inside(name: str) -> None:
    drawn = DRAWINGS[name](findings=("cavity",))
    region = torch.zeros(drawn.images.shape[2:], dtype=torch.bool)
    region[..., : region.shape[-1] // 2] = True  # the right lung, and half of the heart
    clear = [index for index in range(len(drawn)) if not (drawn.masks[index, 2] & region).any()]
    assert clear
    again = redraw(drawn, clear[0], region, seeds=range(6), findings=("nodule",))
    assert again.labels.tolist() == [[True, False, True]] * 6
    assert again.masks[:, 0].flatten(1).any(1).all()
    assert not (again.masks[:, 0] & ~region).any()
    assert (again.images[:, 0] == drawn.images[clear[0], 0])[:, ~region].all()
    assert (again.masks[:, 2] == drawn.masks[clear[0], 2]).all()
    assert len({tuple(mask.flatten().tolist()) for mask in again.masks[:, 0]}) == 6


def test_the_same_seed_draws_the_same_and_a_healthy_region_only_gets_other_noise() -> None:
    drawn = radiographs(2, size=64, seed=6, findings=())
    region = torch.zeros(64, 64, dtype=torch.bool)
    region[20:40, 20:40] = True
    first, second = (redraw(drawn, 1, region, seeds=[3, 4]).images for _ in range(2))
    assert torch.equal(first, second)
    change = (first[0, 0] - drawn.images[1, 0])[region]
    assert 0.005 < change.std() < 0.06
    assert abs(change.mean()) < 0.01


def test_what_is_drawn_in_the_whole_image_is_distributed_as_the_set() -> None:
    drawn = radiographs(1, size=48, seed=8, findings=())
    everywhere = torch.ones(48, 48, dtype=torch.bool)
    again = redraw(drawn, 0, everywhere, seeds=range(300), findings=("nodule",))
    low, high = RADIOGRAPH.radii["nodule"][0][0], RADIOGRAPH.radii["nodule"][-1][1]
    radii = again.radii[:, 0]
    assert ((radii >= low) & (radii <= high)).all()
    counts = torch.bincount(again.sizes[:, 0], minlength=3)  # equally frequent: each 100, standard deviation 8
    assert ((counts - 100).abs() < 35).all()
    rows = (again.masks[:, 0].float().mean(0).sum(1) > 0).nonzero()
    expected = (
        radiographs(300, size=48, seed=9, findings=("nodule",)).masks[:, 0].float().mean(0).sum(1) > 0
    ).nonzero()
    assert abs(rows.double().mean() - expected.double().mean()) < 2


def test_sizes_in_a_small_region_follow_from_the_set_by_rejection() -> None:
    """Independent: whole phantoms of the same scene, of which those whose nodule lies in the region are kept."""
    drawn = radiographs(1, size=32, seed=1, findings=())
    scenes, request = drawn.origin  # type: ignore[misc]
    scene = scenes.image(request, 0).scene
    region = torch.zeros(32, 32, dtype=torch.bool)
    region[8:20, 4:14] = True
    from pellucid.phantom.fields import generator
    from pellucid.phantom.lesions import planted

    kept = []
    for seed in range(2500):
        (lesion,) = planted(("nodule",), scene, RADIOGRAPH, lambda kind, seed=seed: generator(seed, 0, kind))
        if not ((lesion.added != 0) & ~region).any():
            kept.append(lesion.radius)
    again = redraw(drawn, 0, region, seeds=range(400), findings=("nodule",)).radii[:, 0]
    assert len(kept) > 100
    assert float(again.mean()) == pytest.approx(sum(kept) / len(kept), abs=0.003)  # standard errors are 0.0007


def test_markers_stay() -> None:
    drawn = radiographs(3, size=64, seed=2, findings=("consolidation",), marker=1.0)
    again = redraw(drawn, 0, "consolidation", seeds=[0])
    assert torch.equal(again.markers[0], drawn.markers[0])
    assert torch.equal(again.images[0, 0][drawn.markers[0]], drawn.images[0, 0][drawn.markers[0]])


def test_the_global_random_state_and_the_phantoms_are_unchanged() -> None:
    drawn = radiographs(2, size=32, seed=2, findings=("nodule",))
    before, images = torch.get_rng_state(), drawn.images.clone()
    redraw(drawn, 0, "nodule", seeds=[0])
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(drawn.images, images)


def cut(drawn: Phantoms) -> Tensor:
    mask = drawn.masks[0, 0].clone()
    mask[: int(mask.nonzero()[:, 0].float().mean())] = False
    return mask


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda d: redraw(d, 9, "nodule", [0]), "index=9 was asked for; there are images 0 to 1"),
        (lambda d: redraw(d, True, "nodule", [0]), "index=True was asked for"),
        (lambda d: redraw(d, 0, "cavity", [0]), "the image has no cavity: give a mask"),
        (lambda d: redraw(d, 0, "nodul", [0]), "did you mean nodule"),
        (lambda d: redraw(d, 0, torch.ones(64, 64), [0]), r"give a mask \(64, 64\) of bool"),
        (lambda d: redraw(d, 0, torch.ones(9, 9) > 0, [0]), r"region \(9, 9\) torch.bool was given"),
        (lambda d: redraw(d, 0, "nodule", 3), "seeds=3 was asked for; give a sequence"),
        (lambda d: redraw(d, 0, "nodule", []), r"seeds=\[\] was asked for"),
        (lambda d: redraw(d, 0, "nodule", [-1]), r"seeds=\[-1\] was asked for"),
        (lambda d: redraw(d, 0, "nodule", [True]), r"seeds=\[True\] was asked for"),
        (lambda d: redraw(d, 0, "nodule", "12"), "seeds='12' was asked for"),
        (lambda d: redraw(d, 0, "nodule", [1, 2.0]), r"seeds=\[1, 2.0\] was asked for"),
        (lambda d: redraw(d, 0, "nodule", [2**63]), r"seeds=\[9223372036854775808\] was asked for"),
        (lambda d: redraw(d, 0, "nodule", torch.tensor(3)), r"seeds=tensor\(3\) was asked for"),
        (lambda d: redraw(d, 0, "nodule", torch.tensor([True])), r"seeds=tensor\(\[True\]\) was asked for"),
        (lambda d: redraw(d, 0, "nodule", np.eye(2)), r"seeds=array\(\[\[1., 0.\], \[0., 1.\]\]\) was asked for"),
        (lambda d: redraw(d, 0, np.ones((64, 64), bool), [0]), r"region array\(.* was given; give a mask"),
        (lambda d: redraw(d, 0, cut(d), [0]), "the region cuts the nodule; give one that has all of it"),
        (lambda d: redraw(d, 0, torch.zeros(64, 64) > 0, [0], ["cavity"]), "none fits"),
        (lambda d: redraw(d, 0, torch.zeros(64, 64) > 0, [0], ["nodule"]), "has one elsewhere already"),
        (lambda d: redraw(redraw(d, 0, "nodule", [0]), 0, "nodule", [0]), "do not know how they were drawn"),
        (lambda d: radiographs(2, findings=("nodule",), exclusive=True), "leave one of them out"),
    ],
)
def test_invalid_requests_are_refused_in_one_line(call, words) -> None:  # type: ignore[no-untyped-def]
    drawn = radiographs(2, size=64, seed=5, findings=("nodule",))
    with pytest.raises(OptionError, match=words) as caught:
        call(drawn)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("seeds", [torch.arange(2), np.arange(2), iter([0, 1]), (np.int64(0), torch.tensor(1))])
def test_seeds_may_be_whole_numbers_of_any_kind(seeds: Iterable[int]) -> None:
    drawn = radiographs(1, size=32, seed=5, findings=("nodule",))
    again = redraw(drawn, 0, "nodule", seeds)
    assert torch.equal(again.images, redraw(drawn, 0, "nodule", range(2)).images)
    assert not torch.equal(again.images[0], again.images[1])


@pytest.mark.parametrize(
    "draw", [lambda: radiographs(200, 32, exclusive=True), lambda: volumes(60, 16, exclusive=True)]
)
def test_an_exclusive_set_has_one_class_an_image(draw) -> None:  # type: ignore[no-untyped-def]
    drawn = draw()
    assert (drawn.labels.sum(1) <= 1).all()
    counts = torch.bincount(drawn.classes, minlength=4)
    assert (counts > len(drawn) // 8).all()
    chosen = drawn.classes > 0
    assert torch.equal(drawn.labels[chosen].int().argmax(1) + 1, drawn.classes[chosen])
    assert not drawn.labels[~chosen].any()


def test_several_findings_are_no_class() -> None:
    assert radiographs(1, 32, findings=("nodule", "cavity")).classes.tolist() == [-1]
    assert ("none", *FINDINGS) == phantom.CLASSES
