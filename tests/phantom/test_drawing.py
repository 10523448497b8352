"""The drawings: findings lie in their masks, and an image depends only on its seed and index."""

import pytest
import torch
from torch.nn import functional as F

from pellucid.errors import OptionError
from pellucid.phantom import FINDINGS, SIZES, radiographs, volumes
from pellucid.phantom.lesions import RADIOGRAPH

FIELDS = ("images", "masks", "labels", "sizes", "radii", "markers")
DRAWINGS = {"radiographs": lambda *a, **k: radiographs(*a, size=64, **k), "volumes": lambda *a, **k: volumes(*a, **k)}


def widened(masks, by):
    pool = F.max_pool2d if masks.ndim == 4 else F.max_pool3d
    return pool(masks.float(), 2 * by + 1, 1, by) > 0


@pytest.fixture(scope="module")
def many():
    return radiographs(150, size=64, seed=2, marker=0.5)


@pytest.mark.parametrize("name", DRAWINGS)
@pytest.mark.parametrize("kind", FINDINGS)
def test_masks_lie_where_the_image_changes(name, kind):
    with_finding = DRAWINGS[name](8, seed=3, findings=(kind,))
    healthy = DRAWINGS[name](8, seed=3, findings=())
    changed = (with_finding.images - healthy.images).abs()[:, 0] > 1e-4
    mask = with_finding.masks[:, FINDINGS.index(kind)]
    assert mask.flatten(1).any(1).all()
    # Beyond its mask a finding adds less than a quarter of its contrast, most widely around a ragged consolidation.
    assert not (changed & ~widened(mask[:, None], 4)[:, 0]).any()
    strong = (with_finding.images - healthy.images).abs()[:, 0] > 0.01
    share = (strong & mask).sum() / mask.sum()
    assert share > 0.85
    assert not healthy.masks.any()


@pytest.mark.parametrize("name", DRAWINGS)
def test_the_same_seed_draws_the_same(name):
    first, second, other = (DRAWINGS[name](3, seed=seed) for seed in (7, 7, 8))
    for field in FIELDS:
        assert torch.equal(getattr(first, field), getattr(second, field))
    assert not torch.equal(first.images, other.images)
    assert not torch.equal(first.images[0], first.images[1])


def test_an_image_does_not_depend_on_how_many_are_drawn(many):
    few = radiographs(5, size=64, seed=2, marker=0.5)
    for field in FIELDS:
        assert torch.equal(getattr(few, field), getattr(many, field)[:5])


def test_the_global_random_state_is_unchanged():
    before = torch.get_rng_state()
    radiographs(1, size=32)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("drawn", "space"),
    [
        (lambda: radiographs(2, size=48), (48, 48)),
        (lambda: volumes(2), (32, 64, 64)),
        (lambda: volumes(2, size=24), (24, 24, 24)),
        (lambda: volumes(2, size=[16, 24, 32]), (16, 24, 32)),
    ],
)
def test_shapes_and_types(drawn, space):
    phantoms = drawn()
    assert len(phantoms) == 2
    assert phantoms.images.shape == (2, 1, *space)
    assert phantoms.images.dtype == torch.float32
    assert 0 <= phantoms.images.min() < phantoms.images.max() <= 1
    assert phantoms.masks.shape == (2, 3, *space)
    assert phantoms.markers.shape == (2, *space)
    assert {phantoms.masks.dtype, phantoms.labels.dtype, phantoms.markers.dtype} == {torch.bool}
    assert phantoms.labels.shape == phantoms.sizes.shape == phantoms.radii.shape == (2, 3)


def test_labels_masks_and_sizes_agree(many):
    assert torch.equal(many.masks.flatten(2).any(2), many.labels)
    assert torch.equal(many.sizes >= 0, many.labels)
    assert torch.equal(many.radii > 0, many.labels)
    assert set(many.labels.sum(1).tolist()) == {0, 1, 2}
    for kind, name in enumerate(FINDINGS):
        assert set(many.sizes[many.labels[:, kind], kind].tolist()) == set(range(len(SIZES)))
        for size, (low, high) in enumerate(RADIOGRAPH.radii[name]):
            radii = many.radii[many.sizes[:, kind] == size, kind]
            assert ((radii >= low - 1e-6) & (radii <= high + 1e-6)).all()


def test_larger_findings_have_larger_masks():
    phantoms = radiographs(60, size=64, seed=1, findings=("cavity",))
    areas = phantoms.masks[:, 2].flatten(1).sum(1).float()
    means = [areas[phantoms.sizes[:, 2] == size].mean() for size in range(3)]
    assert means == sorted(means)


def test_findings_do_not_overlap():
    phantoms = radiographs(100, size=64, seed=4, findings=FINDINGS)
    assert phantoms.labels.all()
    assert phantoms.masks.sum(1).max() == 1


def test_only_consolidations_carry_markers(many):
    marked = many.markers.flatten(1).any(1)
    consolidated = many.labels[:, 1]
    assert not marked[~consolidated].any()
    assert 0.25 < marked[consolidated].float().mean() < 0.75
    assert not (many.markers[:, None] & many.masks).any()
    assert many.images[:, 0][many.markers].min() > 0.85


def test_a_marker_changes_only_its_corner():
    plain, marked = (radiographs(4, seed=5, findings=("consolidation",), marker=chance) for chance in (0.0, 1.0))
    assert marked.markers.flatten(1).any(1).all()
    assert not plain.markers.any()
    unequal = (plain.images != marked.images)[:, 0]
    assert not (unequal & ~marked.markers).any()
    assert not marked.markers[:, 32:].any()
    assert not marked.markers[:, :, 32:].any()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: radiographs(0), "count=0 was asked for"),
        (lambda: radiographs(2.5), "count=2.5 was asked for"),
        (lambda: radiographs(1, size=8), "size=8 was asked for"),
        (lambda: radiographs(1, size=(64, 64, 64)), "give 2 sides"),
        (lambda: radiographs(1, size=64.0), "size=64.0 was asked for"),
        (lambda: radiographs(1, seed=-1), "seed=-1 was asked for"),
        (lambda: radiographs(1, marker=1.5), "marker=1.5 was asked for"),
        (lambda: radiographs(1, marker="a"), "marker='a' was asked for; it is a probability"),
        (lambda: radiographs(1, marker=None), "marker=None was asked for"),
        (lambda: radiographs(True), "count=True was asked for"),
        (lambda: radiographs(1, seed=True), "seed=True was asked for"),
        (lambda: radiographs(1, seed="a"), "seed='a' was asked for"),
        (lambda: radiographs(1, findings=5), "findings=5 was asked for; give a sequence of them, as in ('nodule',"),
        (lambda: radiographs(1, findings=5, exclusive=True), "findings=5 was asked for"),
        (lambda: radiographs(1, findings=[["nodule"]]), "was asked for; there are nodule"),
        (lambda: volumes(1, findings=True, exclusive=True), "findings=True was asked for"),
        (lambda: radiographs(1, findings="nodule"), "give a sequence"),
        (lambda: radiographs(1, findings=("nodul",)), "did you mean nodule"),
        (lambda: radiographs(1, findings=("nodule", "nodule")), "at most once"),
        (lambda: volumes(1, size=(32, 64)), "give 3 sides"),
        (lambda: volumes(1, findings=("mass",)), "there are nodule, consolidation, cavity"),
    ],
)
def test_invalid_requests_are_refused_in_one_line(call, words):
    with pytest.raises(OptionError, match=words.replace("(", r"\(")) as caught:
        call()
    assert "\n" not in str(caught.value)
