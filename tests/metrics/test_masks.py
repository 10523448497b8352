"""Masks in all forms, and the one line that refuses what is none."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import pellucid
from pellucid.core import rle
from pellucid.core.masks import masks_of
from pellucid.errors import OptionError, PellucidError, ShapeError
from tests.metrics import naive
from tests.metrics.judging import random_masks

SPACE = (4, 6)
FLAGS = random_masks(2, SPACE, share=0.4)
COCO = {
    # Written by pycocotools 2.0.11 (benchmarks/oracles_localisation.py): seeds and shapes, and the text.
    (0, 9, 13): "23600002N02N00003ON0000000",
    (1, 40, 25): "i3;m0000000000000000a00_O000000000000000l2OUM0",
    (2, 33, 20): "X59?MD3<MD3<MD3<MD3<MD3<MD3<MR43WL00000C",
    (3, 1, 7): "041N",
    (5, 300, 3): "h=\\2j20POm1mN",
}


def drawn(seed: int, height: int, width: int) -> np.ndarray:
    """A mask of a few rectangles."""
    source, mask = np.random.default_rng(seed), np.zeros((height, width), dtype=bool)
    for _ in range(3):
        top, left = source.integers(0, height), source.integers(0, width)
        mask[top : top + 1 + height // 4, left : left + 1 + width // 3] = True
    return mask


@pytest.mark.parametrize(
    "given",
    [
        FLAGS,
        FLAGS[:, None],
        FLAGS.int(),
        FLAGS.to(torch.bfloat16),
        FLAGS.double().requires_grad_(),
        FLAGS.numpy(),
        FLAGS.numpy().astype(">u2"),
        np.asfortranarray(FLAGS.numpy()),
        [FLAGS[0], FLAGS[1].numpy()],
        (FLAGS[0][None], FLAGS[1].float()),
        [{"size": list(SPACE), "counts": naive.run_lengths(one)} for one in FLAGS],
        [{"size": SPACE, "counts": naive.compressed(naive.run_lengths(one))} for one in FLAGS],
        [{"counts": naive.compressed(naive.run_lengths(one)).encode(), "size": np.array(SPACE)} for one in FLAGS],
        [{"size": list(SPACE), "counts": np.array(naive.run_lengths(one), dtype=np.uint32)} for one in FLAGS],
    ],
    ids=lambda given: f"{type(given).__name__} {getattr(given, 'dtype', '')}",
)
@pytest.mark.parametrize("columns", [1, 3])
def test_all_forms_give_the_same_masks(given, columns):
    masks, has_mask = masks_of(given, 2, columns, SPACE)
    assert masks.dtype == has_mask.dtype == torch.bool
    assert torch.equal(masks, FLAGS[:, None].expand(2, columns, *SPACE))
    assert has_mask.tolist() == [[True] * columns] * 2


def test_a_mask_for_each_class():
    given = random_masks(6, SPACE).reshape(2, 3, *SPACE)
    assert torch.equal(masks_of(given, 2, 3, SPACE)[0], given)
    assert torch.equal(masks_of(list(given), 2, 3, SPACE)[0], given)


def test_images_without_a_mask():
    masks, has_mask = masks_of([None, FLAGS[1]], 2, 2, SPACE)
    assert has_mask.tolist() == [[False, False], [True, True]]
    assert not masks[0].any()
    assert not masks_of(None, 2, 2, SPACE)[1].any()


def test_volumes():
    flags = random_masks(2, (3, 4, 5))
    for given in (flags, flags[:, None], list(flags), [one.numpy() for one in flags]):
        assert torch.equal(masks_of(given, 2, 1, (3, 4, 5))[0][:, 0], flags)
    masks, _ = masks_of([{"boxes": [(1, 0, 2, 4, 2, 3)]}], 1, 1, (3, 4, 5))
    expected = torch.zeros(3, 4, 5, dtype=torch.bool)
    expected[2:3, 0:2, 1:4] = True
    assert torch.equal(masks[0, 0], expected)


def naive_boxes(boxes, space):
    rows = [
        [any(x0 <= x + 0.5 < x1 and y0 <= y + 0.5 < y1 for x0, y0, x1, y1 in boxes) for x in range(space[1])]
        for y in range(space[0])
    ]
    return torch.tensor(rows)


@pytest.mark.parametrize(
    "boxes",
    [
        [(1, 0, 4, 2)],
        [(0.4, 0.6, 2.5, 3.4), (4, 1, 6, 2)],
        [(-3, -2.0, 2, 9)],
        torch.tensor([[1.5, 0.5, 4.5, 2.5]]),
        np.array([[1, 0, 4, 2], [2, 2, 3, 4]]),
        [torch.tensor([0, 0, 6, 4])],
    ],
)
def test_a_box_holds_the_pixels_whose_centres_lie_in_it(boxes):
    masks, _ = masks_of([{"boxes": boxes}], 1, 1, SPACE)
    assert torch.equal(masks[0, 0], naive_boxes([tuple(map(float, box)) for box in boxes], SPACE))


def test_no_boxes_are_an_empty_mask():
    masks, has_mask = masks_of([{"boxes": []}, {"boxes": torch.zeros(0, 4)}], 2, 1, SPACE)
    assert not masks.any()
    assert bool(has_mask.all())


@pytest.mark.parametrize(("key", "text"), COCO.items())
def test_run_lengths_are_read_as_coco_wrote_them(key, text):
    _, *size = key
    assert np.array_equal(rle.decoded({"size": size, "counts": text}, size).numpy(), drawn(*key))


@pytest.mark.parametrize("seed", range(30))
def test_run_lengths_of_any_mask_are_read(seed):
    source = np.random.default_rng(seed)
    size = source.integers(1, 90, 2).tolist()
    mask = source.random(size) < source.random()
    counts = naive.run_lengths(mask)
    for form in (counts, naive.compressed(counts)):
        assert np.array_equal(rle.decoded({"size": size, "counts": form}, size).numpy(), mask)


def one_rle(counts, size=SPACE):
    return [{"size": size, "counts": counts}]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (torch.zeros(1, 4, 7), "masks (1, 1, 4, 7) were given; (1, 1, 4, 6) (images, classes, *space) were expected"),
        (torch.zeros(2, 4, 6), "masks (2, 1, 4, 6) were given"),
        (torch.zeros(4, 6), "were given"),
        (torch.zeros(1, 2, 4, 6), "masks (1, 2, 4, 6) were given"),
        (torch.full((1, 4, 6), 255), "the value 255 was given"),
        (torch.full((1, 4, 6), 0.5), "the value 0.5 was given"),
        (torch.full((1, 4, 6), -1), "the value -1 was given"),
        (torch.full((1, 4, 6), math.nan), "the value nan was given"),
        (np.full((1, 4, 6), np.inf), "the value inf was given"),
        (torch.zeros(1, 4, 6, dtype=torch.complex64), "a mask of complex64 was given"),
        (np.full((1, 4, 6), "x"), "a mask of <U1 was given"),
        (np.full((1, 4, 6), None), "a mask of object was given"),
        ("mask.png", "masks were given as str"),
        ({"boxes": [(0, 0, 1, 1)]}, "masks were given as dict"),
        (7, "masks were given as int"),
        ([], "masks of 0 images were given; there are 1"),
        ([None, None], "masks of 2 images were given; there are 1"),
        (["mask.png"], "a mask was given as str"),
        ([[[0, 1], [1, 0]]], "a mask was given as list"),
        ([torch.zeros(4, 7)], "masks (1, 4, 7) were given; (1, 4, 6) (classes, *space) were expected"),
        ([torch.full((4, 6), 2)], "the value 2 was given"),
        ([{"bbox": [0, 0, 1, 1]}], "a mask was given as a mapping of ['bbox']"),
        ([{"size": SPACE}], "a mask was given as a mapping of ['size']"),
        (one_rle([24], (4, 7)), "of size (4, 7) was given; the images are (4, 6)"),
        (one_rle([24], (6, 4)), "of size (6, 4) was given"),
        (one_rle([24], 24), "of size int was given"),
        (one_rle([24], (10**9, 10**9)), "of size (1000000000, 1000000000) was given"),
        (one_rle([23]), "add up to 23 pixels; the image has 24"),
        (one_rle([]), "add up to 0 pixels"),
        (one_rle([20, 5]), "whose run 1 is negative or too long"),
        (one_rle([10**5000]), "whose run 0 is negative or too long"),
        (one_rle([30, -6]), "whose run 0 is negative or too long"),
        (one_rle([4, -1, 21]), "whose run 1 is negative or too long"),
        (one_rle([0] * 1000), "is negative or too long"),
        (one_rle([12.0, 12.0]), "a count of type float"),
        (one_rle([True, 23]), "a count of type bool"),
        (one_rle(["12", "12"]), "a count of type str"),
        (one_rle(24), "counts of type int"),
        (one_rle(None), "counts of type NoneType"),
        (one_rle("\x00"), "'\\x00' where no count goes on"),
        (one_rle("é"), "'é' where no count goes on"),
        (one_rle("o" * 10**6), "'o' where no count goes on"),
        (one_rle("h0P"), "ends within a count"),
        ([{"boxes": 3}], "boxes were given as int"),
        ([{"boxes": "all"}], "boxes were given as str"),
        ([{"boxes": (0, 0, 3, 3)}], "the box 0 was given; (x0, y0, x1, y1) was expected"),
        ([{"boxes": [(0, 0, 3)]}], "the box (0, 0, 3) was given"),
        ([{"boxes": [(3, 0, 3, 3)]}], "with x0 < x1 and y0 < y1"),
        ([{"boxes": [(0, 3, 3, 1)]}], "with x0 < x1 and y0 < y1"),
        ([{"boxes": [(0, 0, math.nan, 3)]}], "finite numbers"),
        ([{"boxes": [(0, 0, math.inf, 3)]}], "finite numbers"),
        ([{"boxes": [("0", 0, 1, 3)]}], "finite numbers"),
        ([{"boxes": [(6, 0, 9, 3)]}], "no pixel of an image (4, 6) has its centre in it"),
        ([{"boxes": [(1.6, 0, 2.4, 3)]}], "no pixel of an image"),
        ([{"boxes": [(0, 0, 1, 1)] * 3 + [[0] * 10**4]}], "the box [0, 0, 0"),
        ([{"boxes": [(0, 0, 1, 10**5000)]}], "a box of numbers too long to show was given"),
    ],
    ids=lambda one: one if isinstance(one, str) else "given",
)
def test_what_is_no_mask_is_refused_in_one_line(given, words):
    with pytest.raises((OptionError, ShapeError)) as caught:
        masks_of(given, 1, 1, SPACE)
    message = str(caught.value)
    assert words in message
    assert "\n" not in message
    assert len(message) < 260


def test_boxes_of_a_volume_name_its_axes():
    with pytest.raises(OptionError, match=r"\(x0, y0, z0, x1, y1, z1\) was expected"):
        masks_of([{"boxes": [(0, 0, 1, 1)]}], 1, 1, (3, 4, 5))
    with pytest.raises(ShapeError, match="2-D"):
        masks_of([{"size": (3, 4, 5), "counts": [60]}], 1, 1, (3, 4, 5))


def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv2d(1, 3, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())


def test_evaluate_takes_them_and_counts_images_without():
    images, heat = torch.rand(3, 1, 16, 16), torch.zeros(3, 16, 16)
    heat[:, 2, 3] = 1
    masks = [{"boxes": [(2, 1, 5, 4)]}, None, {"boxes": []}]
    scores = pellucid.evaluate(network(), images, heat, masks=masks, metrics=["pointing_game", "iou"])
    assert scores["iou"].flatten().tolist() == pytest.approx([1 / 9, math.nan, math.nan], nan_ok=True)
    assert scores.reasons["iou"] == ((None,), ("no mask",), ("the mask is empty",))
    assert scores.missing("pointing_game") == {"no mask": 1, "the mask is empty": 1}


def test_evaluate_names_a_metric_that_needs_masks():
    with pytest.raises(PellucidError, match=r"metric 'iou' was asked for; .*: give masks="):
        pellucid.evaluate(network(), torch.rand(1, 1, 16, 16), torch.rand(1, 16, 16), metrics=["entropy", "iou"])
