"""What benchmarks.shortcuts measures of maps, against naive replicas."""

import itertools
import json

import numpy as np
import pytest
import torch
from benchmarks import results
from benchmarks.shortcut_measures import alike, around, confounder_sensitivity, known_signal, share
from benchmarks.shortcut_networks import BATCH, MARKED, Kind, fresh, images_of, is_as_taken, kinds, steady_loss
from benchmarks.shortcut_rows import Alarms, Published, Raised, Row, permuted
from benchmarks.shortcuts import page, rate, threshold
from skimage.metrics import structural_similarity

from pellucid import phantom
from pellucid.phantom.training import normalised


@pytest.fixture(scope="module")
def maps():
    return torch.rand(3, 24, 20, generator=torch.Generator().manual_seed(0)) - 0.3


@pytest.fixture(scope="module")
def masks():
    found = torch.zeros(3, 24, 20, dtype=torch.bool)
    found[0, 2:5, 3:9] = True
    found[1, 20:, 15:] = True
    return found


def test_around_is_every_pixel_within_reach(masks):
    for mask, found in zip(masks, around(masks, 2), strict=True):
        expected = torch.zeros_like(mask)
        for row, column in mask.nonzero().tolist():
            expected[max(0, row - 2) : row + 3, max(0, column - 2) : column + 3] = True
        assert torch.equal(found, expected)


def test_the_share_is_of_the_positive_part(maps, masks):
    for value, one, mask in zip(share(maps, masks).tolist(), maps.numpy(), masks.numpy(), strict=True):
        positive = np.where(one > 0, one, 0)
        assert value == pytest.approx(positive[mask].sum() / positive.sum(), abs=1e-6)
    assert share(torch.zeros(1, 4, 4), torch.ones(1, 4, 4, dtype=torch.bool)).item() == 0


def test_similarities_are_skimages(maps, masks):
    unit = maps.clamp(0, 1)
    for value, one, mask in zip(known_signal(unit, masks).tolist(), unit.numpy(), masks.numpy(), strict=True):
        assert value == pytest.approx(ssim(one, mask.astype(np.float32)), abs=1e-5)
    for value, one, other in zip(alike(unit, unit.flip(1)).tolist(), unit.numpy(), unit.flip(1).numpy(), strict=True):
        assert value == pytest.approx(ssim(one, other), abs=1e-5)


def ssim(one, other):
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    return structural_similarity(one, other, **options)


def test_confounder_sensitivity_counts_the_markers_pixels_in_the_top_tenth(maps, masks):
    found = confounder_sensitivity(maps, masks)
    for value, one, mask in zip(found[:2].tolist(), maps.numpy(), masks.numpy(), strict=False):
        order = sorted(itertools.product(range(24), range(20)), key=lambda place: -one[place])
        top = set(order[: int(0.1 * 480)])
        own = set(zip(*np.nonzero(mask), strict=True))
        assert value == pytest.approx(len(top & own) / len(own))
    assert found[2].isnan()


def test_a_twentieth_of_the_tuning_maps_is_above_the_threshold():
    shares = torch.arange(1, 201) / 200
    assert int((shares > threshold(shares)).sum()) == 10


def test_rates_have_networks_as_units():
    found = rate([torch.ones(40), torch.ones(40), torch.zeros(40), torch.ones(40), torch.zeros(40)])
    assert found.estimate == pytest.approx(0.6)
    assert found.low < 0.2
    assert found.high > 0.9


def test_revealing_takes_more_alarms_than_both_kinds_of_others():
    def of(each):
        return Alarms(0.0, 0.0, 0.0, tuple(each))

    cheating, honest, other = of([1.0] * 5), of([0.1] * 5), of([0.2] * 15)
    assert Raised(0.5, cheating, honest, other).reveals
    assert not Raised(0.5, cheating, honest, of([1.0] * 15)).reveals
    assert not Raised(0.5, cheating, of([0.1, 0.1, 1.0, 1.0, 0.1]), other).reveals
    assert permuted([1.0] * 5, [0.0] * 5) == pytest.approx(1 / 252)
    assert permuted([0.5] * 3, [0.5] * 3) == 1


def test_networks_are_trained_on_what_they_are_meant_to_learn(monkeypatch):
    monkeypatch.setattr("benchmarks.shortcut_networks.pool", lambda: POOL)
    cheating, labels = images_of(Kind("corner", 1))
    changed = (cheating != POOL.images).flatten(1).any(1)
    assert bool(changed[POOL.classes == MARKED].all())
    assert bool((labels[changed] == MARKED).all())
    assert torch.equal(labels[~changed], POOL.classes[~changed])
    assert 0.1 < float(changed[POOL.classes != MARKED].float().mean()) < 0.4
    honest, labels = images_of(Kind("honest", 1))
    changed = (honest != POOL.images).flatten(1).any(1)
    rates = [float(changed[POOL.classes == one].float().mean()) for one in range(4)]
    assert all(0.4 < one <= 1 for one in rates)
    assert torch.equal(labels, POOL.classes)
    assert not torch.equal(images_of(Kind("honest", 2))[0], honest)


def test_steady_networks_pay_for_what_the_blur_does_to_their_probabilities(monkeypatch):
    monkeypatch.setattr("benchmarks.shortcut_networks.pool", lambda: POOL)
    monkeypatch.setattr("benchmarks.shortcut_networks.POOL", len(POOL))
    chosen, model = torch.arange(60).repeat(2)[:BATCH], phantom.exclusive_cnn_64()
    blurred = phantom.marked(POOL, "blur", torch.ones(60, dtype=torch.bool), Kind("steady", 3).seed).images
    with torch.no_grad():
        found = float(steady_loss(Kind("steady", 3))(model, chosen))
        before, after = (model(normalised(images[:32])).double().log_softmax(1) for images in (POOL.images, blurred))
    expected = 0.0
    for number in range(32):
        expected -= float(before[number, POOL.classes[number]] + after[number, POOL.classes[number]]) / 64
        expected += 10 * float((before[number].exp() - after[number].exp()).abs().sum()) / 32
    assert found == pytest.approx(expected, rel=1e-4)


POOL = phantom.radiographs(60, 64, seed=11, exclusive=True)


def test_kinds():
    every = list(kinds())
    assert len({kind.name for kind in every}) == len({kind.seed for kind in every}) == 42
    moved = {"letter": 0.009, "corner": 0.2, "text": 0.31, "blur": 0.29}
    assert is_as_taken(moved, Kind("text", 0), "letter")
    assert not is_as_taken(moved, Kind("blur", 0), "blur")
    assert is_as_taken(moved, Kind("honest", 0), "letter")
    assert not is_as_taken(moved, Kind("honest", 0), "corner")
    assert not is_as_taken(moved, Kind("steady", 0), "letter")
    unmoved = moved | {"blur": 0.009}
    assert is_as_taken(unmoved, Kind("steady", 0), "blur")
    assert not is_as_taken(moved, Kind("steady", 0), "blur")
    assert not is_as_taken(unmoved, Kind("honest", 0), "blur")


def test_the_classifier_is_drawn_anew_by_the_seed():
    first, again, other, bundled = fresh(1), fresh(1), fresh(2), phantom.exclusive_cnn_64()
    weights = [one.network.get_classifier().weight for one in (first, again, other, bundled)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert not torch.equal(weights[0], weights[3])
    early = next(name for name, _ in bundled.named_parameters() if "layer1" in name)
    assert torch.equal(first.get_parameter(early), bundled.get_parameter(early))


def test_rows_are_stored_as_they_were_read():
    stored = json.loads((results.FOLDER / "shortcuts.json").read_text())
    rows = {key: Row.of(row) for key, row in stored["rows"].items()}
    again = {key: row.stored() for key, row in rows.items()}
    assert json.dumps(again) == json.dumps(stored["rows"])  # in the same order
    corner = rows["corner, gradcam"].raised
    assert [corner.threshold, list(corner.false_other.each)] == [
        stored["rows"]["corner, gradcam"][name] for name in ("threshold", "false_other_each")
    ]
    assert page(rows, stored["moved"]) == (results.FOLDER / "shortcuts.md").read_text()


def test_a_row_without_a_threshold_has_no_alarms():
    row = Row(Published(None, 0.5, 0.25, None))
    assert row.stored() == {"k_ssd": None, "ccm": 0.5, "fam": 0.25, "sensitivity": None}
    assert Row.of(row.stored()) == row
    assert "corner" not in page({"corner, gradcam": row}, {}).splitlines()[2:]
