"""CheXlocalize's recipe gives the published code's figures (benchmarks/published_chexlocalize.py), case by case."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from benchmarks.published_chexlocalize import CASES, CUTOFF, TASKS, VALIDATION, made
from numpy.random import RandomState

from pellucid.errors import OptionError, ShapeError
from pellucid.evaluation.protocols import chexlocalize as module
from pellucid.evaluation.protocols.chexlocalize import Protocol, PublishedInterval, chexlocalize, tuned
from pellucid.evaluation.protocols.localised import (
    ALL,
    FINDINGS,
    THRESHOLDS,
    TRUE_POSITIVES,
    Localised,
    Overlap,
    localised,
    share,
)
from pellucid.evaluation.protocols.segmenting import by_otsu, otsu_level, scaled

ORACLE = json.loads((Path(__file__).parent / "chexlocalize.json").read_text())


def cases(which: tuple[int, int]) -> list[Localised]:
    return [
        localised(one.image, one.task, one.enlarged, torch.from_numpy(one.mask), one.probability >= CUTOFF)
        for one in made(*which)
    ]


@pytest.fixture(scope="module")
def scored() -> list[Localised]:
    return cases(CASES)


@pytest.fixture(scope="module")
def found(scored: list[Localised]) -> Protocol:
    return chexlocalize(scored, generator=RandomState(0), validation=cases(VALIDATION))


@pytest.mark.parametrize("figure", sorted(ORACLE["figures"]))
def test_figures_are_those_of_the_published_code(found: Protocol, figure: str) -> None:
    for task in TASKS:
        mean, low, high, *printed = ORACLE["figures"][figure][task]
        ours = found.figures[figure][task]
        assert (ours.mean, ours.low, ours.high) == pytest.approx((mean, low, high), abs=1e-6)
        assert (ours.low, ours.bootstrap_mean, ours.high) == pytest.approx(printed, abs=5.1e-4)  # rounded to 3 digits


def test_thresholds_are_those_of_the_published_code(found: Protocol) -> None:
    assert found.thresholds == ORACLE["thresholds"]
    assert len(set(found.thresholds.values())) > 1


@pytest.mark.parametrize("over", [TRUE_POSITIVES, ALL])
def test_the_overlap_of_each_image_is_that_of_the_published_code(scored: list[Localised], over: str) -> None:
    expected = np.array(ORACLE["values"][f"mIoU, Otsu, {over}"], dtype=float)
    ours = np.array([share(one, one.otsu if one.is_called else Overlap(0, one.finding, 0), over) for one in scored])
    np.testing.assert_allclose(ours.reshape(expected.shape), expected, atol=1e-9)


def test_the_mean_over_findings_is_that_over_all_where_there_is_one(scored: list[Localised], found: Protocol) -> None:
    for task in TASKS:
        values = [share(one, one.otsu, FINDINGS) * one.is_called for one in scored if one.label == task and one.finding]
        entry = found.figures[f"mIoU, Otsu, {FINDINGS}"][task]
        assert (entry.mean, entry.count) == (pytest.approx(np.mean(values)), len(values))


def test_every_figure_is_defined_and_the_caution_is_stated(found: Protocol) -> None:
    assert set(found.figures) == set(found.definitions)
    assert found.notes == (module.CAUTION,)
    assert found.images == CASES[1]
    plain = chexlocalize(cases(VALIDATION), generator=RandomState(0))
    assert not plain.thresholds
    assert not any("tuned" in name for name in plain.figures)


# Each step by itself, beside loops and OpenCV.


def naive_level(grey: npt.NDArray[np.uint8]) -> float:
    """The largest variance between the two sides of a threshold, by the values themselves."""
    values = grey.ravel().astype(float)
    best = 0.0
    for level in range(255):
        low, high = values[values <= level], values[values > level]
        if len(low) and len(high):
            best = max(best, len(low) * len(high) * (low.mean() - high.mean()) ** 2)
    return best


@pytest.mark.parametrize("seed", range(5))
def test_otsu_maximises_the_variance_between_the_sides(seed: int) -> None:
    grey = (np.random.default_rng(seed).random((9, 11)) ** (seed + 1) * 255).astype(np.uint8)
    level, values = otsu_level(grey), grey.ravel().astype(float)
    low, high = values[values <= level], values[values > level]
    assert len(low) * len(high) * (low.mean() - high.mean()) ** 2 == pytest.approx(naive_level(grey))


def naive_filled(above: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Regions of one pixel dropped, and what cannot be left for the border in steps along the axes filled."""
    height, width = above.shape

    def neighbours(row: int, column: int, steps: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        around = [(row + down, column + right) for down, right in steps]
        return [(r, c) for r, c in around if 0 <= r < height and 0 <= c < width]

    every = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1) if down or right]
    kept = above.copy()
    for row, column in np.argwhere(above).tolist():
        kept[row, column] = any(above[place] for place in neighbours(row, column, every))
    border = [(row, column) for row, column in np.argwhere(~kept).tolist() if row in (0, height - 1)]
    border += [(row, column) for row, column in np.argwhere(~kept).tolist() if column in (0, width - 1)]
    reached, todo = set(border), list(border)
    while todo:
        for place in neighbours(*todo.pop(), [(-1, 0), (1, 0), (0, -1), (0, 1)]):
            if not kept[place] and place not in reached:
                reached.add(place)
                todo.append(place)
    return np.array([[(row, column) not in reached for column in range(width)] for row in range(height)])


@pytest.mark.parametrize("share_of_ones", [0.1, 0.3, 0.5, 0.7])
def test_contours_are_filled(share_of_ones: float) -> None:
    rng = np.random.default_rng(3)
    for _ in range(10):
        above = rng.random((12, 15)) < share_of_ones
        above[0, 0], above[5, 5] = False, True  # neither constant
        np.testing.assert_array_equal(by_otsu(above.astype(np.float32)), naive_filled(above))


def test_segmentations_are_those_of_opencv() -> None:
    cv2 = pytest.importorskip("cv2")
    from PIL import Image, ImageDraw

    rng = np.random.default_rng(5)
    for number in range(150):
        height, width = (int(side) for side in rng.integers(2, 50, size=2))
        heat = rng.random((height, width)).astype(np.float32) ** int(rng.integers(1, 5))
        heat = cv2.GaussianBlur(heat, (0, 0), float(number % 5)) if number % 5 else np.floor(heat * 4)
        grey = np.uint8(255 * scaled(heat))
        level, above = cv2.threshold(grey, 0, int(grey.max()), cv2.THRESH_OTSU)
        drawn = Image.new("1", (width, height))
        for contour in cv2.findContours(above, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)[0]:
            corners = [(int(x), int(y)) for x, y in contour[:, 0]]
            if len(corners) > 1:
                ImageDraw.Draw(drawn).polygon(corners, outline=1, fill=1)
        assert otsu_level(grey) == level
        np.testing.assert_array_equal(by_otsu(scaled(heat)), np.array(drawn))


def one(image: str, finding: int, overlap: Overlap, label: str = "a") -> Localised:
    return Localised(image, label, finding, finding > 1, overlap, [overlap] * len(THRESHOLDS))


@pytest.mark.parametrize(
    ("finding", "overlap", "expected"),
    [
        (4, Overlap(2, 8, 6), {TRUE_POSITIVES: 0.25, FINDINGS: 0.25, ALL: 0.25}),
        (4, Overlap(0, 4, 0), {TRUE_POSITIVES: None, FINDINGS: 0.0, ALL: 0.0}),
        (0, Overlap(0, 6, 6), {TRUE_POSITIVES: None, FINDINGS: None, ALL: 0.0}),
        (0, Overlap(0, 0, 0), {TRUE_POSITIVES: None, FINDINGS: None, ALL: None}),
    ],
    ids=["both", "missed", "false alarm", "neither"],
)
def test_what_the_mean_is_over(finding: int, overlap: Overlap, expected: Mapping[str, float | None]) -> None:
    for over, value in expected.items():
        got = share(one("x", finding, overlap), overlap, over)
        assert math.isnan(got) if value is None else got == value


def test_the_interval_is_the_25th_and_the_975th_of_the_replicates() -> None:
    values = [0.1, 0.9, 0.4, None, 0.7]
    given = [
        one(f"i{number}", 0 if value is None else 10, Overlap(0 if value is None else round(10 * value), 10, 5))
        for number, value in enumerate(values)
    ]
    random, means = RandomState(3), []
    for _ in range(1000):
        drawn = [values[index] for index in random.choice(5, size=5, replace=True)]
        means.append(np.mean([value for value in drawn if value is not None]))
    means.sort()
    found = chexlocalize(given[::-1], generator=RandomState(3)).figures[f"mIoU, Otsu, {FINDINGS}"]["a"]
    expected = PublishedInterval(np.mean([0.1, 0.9, 0.4, 0.7]), means[24], means[974], float(np.mean(means)), 4)
    for name in ("mean", "low", "high", "bootstrap_mean", "count"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name))


def test_a_finding_that_is_not_called_has_no_segmentation_but_a_peak() -> None:
    heat, mask = torch.tensor([[0.0, 1.0, 1.0]]), torch.tensor([[False, True, True]])
    called, missed = (localised("x", "a", heat, mask, is_called) for is_called in (True, False))
    figures = chexlocalize([missed], generator=RandomState(0)).figures
    assert figures["hit rate"]["a"].mean == 1
    assert figures[f"mIoU, Otsu, {FINDINGS}"]["a"].mean == 0
    assert math.isnan(figures[f"mIoU, Otsu, {TRUE_POSITIVES}"]["a"].mean)
    assert chexlocalize([called], generator=RandomState(0)).figures[f"mIoU, Otsu, {FINDINGS}"]["a"].mean == 1


def test_the_lowest_of_equal_thresholds_is_taken_and_none_without_a_true_positive() -> None:
    assert tuned([one("x", 4, Overlap(2, 8, 6))]) == THRESHOLDS[0]
    assert tuned([one("x", 0, Overlap(0, 6, 6))]) is None
    assert tuned([]) is None


def test_a_label_without_a_threshold_has_no_tuned_figure() -> None:
    given = [one("x", 4, Overlap(2, 8, 6)), one("x", 4, Overlap(2, 8, 6), label="b")]
    found = chexlocalize(given, generator=RandomState(0), validation=[one("y", 4, Overlap(2, 8, 6))])
    assert set(found.thresholds) == {"a"}
    assert math.isnan(found.figures[f"mIoU, tuned, {ALL}"]["b"].mean)
    assert found.figures[f"mIoU, tuned, {ALL}"]["b"].count == 0


def test_a_constant_map_segments_nothing_and_points_at_the_first_pixel() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        flat = localised("x", "a", torch.full((3, 4), 2.5), torch.eye(3, 4, dtype=torch.bool))
    assert flat.otsu == Overlap(0, 3, 0)
    assert all(tried == Overlap(0, 3, 0) for tried in flat.tried)
    assert flat.is_hit


def test_maps_of_half_precision_and_with_a_gradient_are_taken() -> None:
    heat, mask = torch.rand(5, 6, generator=torch.Generator().manual_seed(0)), torch.eye(5, 6)
    assert localised("x", "a", heat.double().requires_grad_(), mask) == localised("x", "a", heat, mask.bool())
    assert localised("x", "a", heat.bfloat16(), mask).finding == 5


@pytest.mark.parametrize(
    ("attempt", "kind", "message"),
    [
        (lambda: localised("x", "a", torch.zeros(2, 3), torch.zeros(3, 2)), ShapeError, r"\(2, 3\) and a mask \(3, 2"),
        (lambda: localised("x", "a", torch.zeros(1, 2, 3), torch.zeros(1, 2, 3)), ShapeError, "enlarge the map"),
        (lambda: localised("x", "a", torch.zeros(0, 3), torch.zeros(0, 3)), ShapeError, r"\(0, 3\)"),
        (lambda: localised("x", "a", torch.tensor([[math.nan]]), torch.zeros(1, 1)), OptionError, "not finite"),
        (lambda: chexlocalize([], generator=RandomState(0)), OptionError, "at least one image"),
        (lambda: chexlocalize([one("x", 0, Overlap(0, 0, 0))] * 2, generator=RandomState(0)), OptionError, "x .*twice"),
        (lambda: both_ways(), OptionError, "x was given as a case and for validation"),
    ],
    ids=["sizes", "volume", "empty", "nan", "none", "twice", "tuned on itself"],
)
def test_bad_input_is_one_line(attempt: Callable[[], Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message) as caught:
        attempt()
    assert "\n" not in str(caught.value)


def both_ways() -> Protocol:
    case = one("x", 0, Overlap(0, 0, 0))
    return chexlocalize([case], generator=RandomState(0), validation=[case])
