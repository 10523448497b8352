"""What a grade is worth, ``benchmarks.grade_worth``: its figures against naive ones, and what is published of them."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from benchmarks import grade_worth as command
from benchmarks import results
from benchmarks.grade_worth import Maps, Row

import pellucid
from pellucid import phantom
from pellucid.core import grade

NAN = float("nan")


def some(count: int = 400, seed: int = 0) -> Maps:
    """Maps whose grade is lower where the peak misses; some have none."""
    rng = np.random.default_rng(seed)
    hit = rng.random(count) < 0.5
    grades = np.where(rng.random(count) < 0.1, NAN, (hit + rng.normal(size=count)).round(1))
    return Maps(tuple(range(count)), tuple(hit.tolist()), tuple(grades.tolist()))


def naive_area(maps: Maps) -> float:
    """The share of pairs of a hit and a miss in which the miss has the lower grade; ties count half."""
    hits = [one for one, hit in zip(maps.grade, maps.hit, strict=True) if hit and not math.isnan(one)]
    misses = [one for one, hit in zip(maps.grade, maps.hit, strict=True) if not hit and not math.isnan(one)]
    won = sum((miss < hit) + 0.5 * (miss == hit) for hit in hits for miss in misses)
    return won / (len(hits) * len(misses))


def test_a_row_counts_maps_and_misses_and_those_without_a_grade() -> None:
    maps = some()
    row = Row.of(maps)
    none = [math.isnan(one) for one in maps.grade]
    assert (row.maps, row.misses, row.ungraded) == (400, maps.hit.count(False), sum(none))
    assert row.ungraded_misses == sum(own and not hit for own, hit in zip(none, maps.hit, strict=True)) > 0
    assert row.auroc == pytest.approx(naive_area(maps), abs=1e-4)
    assert 0.5 < row.low < row.auroc < row.high
    assert row.is_enough
    assert not Row.of(some(120)).is_enough


def test_intervals_are_by_image() -> None:
    maps = some(200)
    twice = Row.of(maps + maps)  # each image has the same maps twice: nothing more is known
    assert twice.auroc == Row.of(maps).auroc
    assert twice.high - twice.low == pytest.approx(Row.of(maps).high - Row.of(maps).low, rel=0.02)


def test_rows_of_methods_are_over_networks() -> None:
    found = {("a", "m"): some(300, 1), ("b", "m"): some(300, 2), ("a", "n"): some(300, 3)}
    rows = command.rows(found)
    assert list(rows) == ["a/m", "b/m", "a/n", "m", "n"]
    assert rows["m"].auroc == pytest.approx((naive_area(some(300, 1)) + naive_area(some(300, 2))) / 2, abs=1e-4)
    assert (rows["m"].maps, rows["m"].misses) == (600, rows["a/m"].misses + rows["b/m"].misses)
    assert (rows["n"].auroc, rows["n"].maps) == (rows["a/n"].auroc, 300)


def test_the_mean_over_networks_does_not_tell_networks_apart() -> None:
    """One network hits always but for a few, with high grades, and the other the other way round."""
    rng = np.random.default_rng(0)
    often = rng.random(400) < 0.9
    one = Maps(tuple(range(400)), tuple(often.tolist()), tuple((5 + rng.normal(size=400)).tolist()))
    other = Maps(tuple(range(400)), tuple((~often).tolist()), tuple(rng.normal(size=400).tolist()))
    row = Row.over([one, other])
    assert Row.of(one + other).low > 0.8
    assert row.low < 0.5 < row.high


def test_the_bootstrap_is_as_wide_as_the_analytic_interval() -> None:
    maps = some(400)
    single, row = Row.of(maps), Row.over([maps])
    assert row.auroc == single.auroc
    assert row.high - row.low == pytest.approx(single.high - single.low, rel=0.15)
    assert Row.over([maps, maps]).high - row.low == pytest.approx(row.high - row.low, rel=0.01), "the same images"


def test_what_is_measured_is_the_grade_and_the_hit_of_each_map() -> None:
    drawn = phantom.radiographs(4, 128, seed=command.SEED)
    network = phantom.unguided_cnn()
    found = command.measured(network, "saliency", drawn, 3)
    images = pellucid.model_info(network).preprocessing.normalise(drawn.images)
    row = 0
    for finding in range(3):
        for number in range(3):
            with torch.no_grad():
                detected = float(network(images[number : number + 1])[0, finding]) >= 0
            if not (drawn.labels[number, finding] and detected):
                continue
            one = pellucid.explain(network, images[number : number + 1], "saliency", finding, checks=["grade"])
            y, x = divmod(int(one.heatmaps[0, 0].argmax()), 128)
            far = (drawn.masks[number, finding].nonzero() - torch.tensor([y, x])).square().sum(1).min().sqrt()
            assert (found.image[row], found.hit[row]) == (number, bool(far <= 4))
            assert found.grade[row] == pytest.approx(float(one.checks["grade"]), abs=1e-3, nan_ok=True)
            row += 1
    assert row == len(found.image) > 2


def test_what_is_published_is_what_was_stored() -> None:
    known, machine = command.read()
    assert (results.FOLDER / "grade_worth.md").read_text() == command.page(known, machine)
    assert json.loads(grade.FILE.read_text()) == command.shipped(known)
    assert all(one.misses - one.ungraded_misses >= 100 for name, one in known.items() if name in command.shipped(known))


def test_a_row_with_few_misses_states_no_area() -> None:
    few, enough = Row(400, 90, 0, 0, 0.7, 0.6, 0.8), Row(400, 190, 9, 5, 0.7, 0.6, 0.8)
    lines = command.page({"unguided_cnn/gradcam": few, "gradcam": enough}, "a machine").splitlines()
    assert lines[2] == "| `unguided_cnn` | `gradcam` | 400 | 90 | 0 (0) | fewer than 100 misses |"
    assert lines[3] == "| **all** | `gradcam` | 400 | 190 | 9 (5) | 0.70 (0.60 to 0.80) |"
    assert command.shipped({"gradcam": few, "saliency": enough, "a/b": enough}) == {
        "saliency": {"auroc": 0.7, "low": 0.6, "high": 0.8, "maps": 400, "misses": 190},
        "a/b": {"auroc": 0.7, "low": 0.6, "high": 0.8, "maps": 400, "misses": 190},
    }
