"""The figures, how they are stored, and the tables that show them."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from benchmarks import fooled, fooled_figures, fooled_measures, fooled_networks, results
from benchmarks.fooled_figures import Figure, OfMethod, OfNetwork
from benchmarks.fooled_networks import Control, Fooling
from benchmarks.fooled_page import page
from benchmarks.fooling import Lessons
from torch.nn import functional as F

from pellucid import phantom
from pellucid.methods import Saliency
from pellucid.metrics import Deletion
from pellucid.priors import Random
from pellucid.statistics import Interval
from tests.fooling.tiny import untrained

NEAR, FAR = Figure(0.5, 0.4, 0.6), Figure(0.1, 0.05, 0.2)
MAPS = OfMethod(200, NEAR, {"zero": NEAR, "blur": NEAR, "cells": NEAR}, 0.0, 1.0)
MOVED = OfMethod(200, FAR, {"zero": FAR, "blur": NEAR, "cells": NEAR}, 0.25, None)
KNOWN = {
    "untouched": OfNetwork(NEAR, Figure(0.0, -0.001, 0.001), 0.99, 1.0, 4000, {"gradcam": MAPS, "saliency": MAPS}),
    "location": OfNetwork(NEAR, Figure(-0.005, -0.011, 0.001), 0.98, 0.9, 4000, {"gradcam": MOVED, "saliency": MAPS}),
}


def test_apart_and_within() -> None:
    assert NEAR.apart(FAR)
    assert FAR.apart(NEAR)
    assert not NEAR.apart(Figure(0.3, 0.2, 0.4))  # a point in common
    assert not NEAR.apart(Figure(0.0, None, None))
    assert not Figure(0.0, None, None).apart(NEAR)
    assert Figure(0.0, -0.009, 0.009).within(0.01)
    assert not Figure(0.0, -0.009, 0.011).within(0.01)
    assert not Figure(0.0, -0.011, 0.009).within(0.01)
    assert not Figure(0.0, None, None).within(0.01)


def test_withheld_intervals_have_no_bounds() -> None:
    assert Figure.of(Interval(0.5, math.nan, math.nan, 3, 3, withheld="too few")) == Figure(0.5, None, None)
    assert Figure.of(Interval(0.5, 0.4, 0.6, 30, 30)) == NEAR


def test_results_are_stored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    assert fooled_figures.read() == {}
    unlike = replace(MOVED, likeness=math.nan)
    fooled_figures.keep({**KNOWN, "location": replace(KNOWN["location"], methods={"gradcam": unlike})})
    assert json.loads((tmp_path / "fooled.json").read_text())["location"]["methods"]["gradcam"]["likeness"] is None
    fooled_figures.keep(KNOWN)
    assert fooled_figures.read() == KNOWN


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = {name: fooled_networks.NETWORKS[name] for name in ("untouched", "location")}
    small = {**shown, "framed": Fooling("framed", (), untrained, framed=True)}
    for module in (fooled, fooled_figures):
        monkeypatch.setattr(module, "NETWORKS", small)
    small["location"] = replace(small["location"], build=untrained)
    monkeypatch.setattr(fooled.Reference, "of", lambda network, images: images)
    monkeypatch.setattr(fooled, "measured", lambda network, images, before: replace(KNOWN["untouched"], tested=images))
    monkeypatch.setattr(fooled.Images, "of", lambda is_framed: 7 if is_framed else 5)


@pytest.mark.usefixtures("only")
def test_what_is_not_known_is_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    fooled_figures.keep(KNOWN)
    fooled.main()
    assert fooled_figures.read() == {**KNOWN, "framed": replace(KNOWN["untouched"], tested=7)}
    assert (tmp_path / "fooled.md").read_text() == page(fooled_figures.read())
    fooled.main(again=True)
    assert fooled_figures.read()["location"] == replace(KNOWN["untouched"], tested=5)


def test_page_marks_what_is_apart() -> None:
    text = page(KNOWN)
    assert "| untouched | 50.0 % | — | — | 0.9900 | 100.0 % |" in text
    assert "| Heo, location | 50.0 % | -0.5 (-1.1 to +0.1) | no | 0.9800 | 90.0 % |" in text
    near = "+0.500 (+0.400 to +0.600)"
    assert f"| untouched | `gradcam` | 50 % (40–60) | {near} | {near} | {near} | 1.00 | 0 % |" in text
    assert (
        f"| Heo, location | `gradcam` | **10 % (5–20)** | **+0.100 (+0.050 to +0.200)** | {near} | {near} | — | 25 % |"
        in text
    )
    assert "| Heo, location | **10 %** | 50 % |" in text
    assert "| Heo, location | **+0.100** | +0.500 |" in text
    assert "on 200 findings" in text
    assert "on 4000 radiographs" in text


def test_borders() -> None:
    shown = fooled_networks.framed(torch.ones(2, 1, 64, 64))
    wide = fooled_networks.BORDER
    assert shown.sum() == 2 * (64 - 2 * wide) ** 2
    assert not shown[..., :wide].any()
    assert not shown[..., -wide:, :].any()
    assert torch.equal(fooled_networks.border()[0], 1 - shown[0, 0])
    assert torch.equal(fooled_networks.sides().amax(0), fooled_networks.border())
    assert [fooled_networks.sides()[side, 0].nonzero().double().mean(0).tolist() for side in range(4)] == [
        [(wide - 1) / 2, 31.5],
        [63 - (wide - 1) / 2, 31.5],
        [31.5, (wide - 1) / 2],
        [31.5, 63 - (wide - 1) / 2],
    ]


@pytest.mark.parametrize("name", ["shared", "sides"])
def test_closed_forms_predict_what_the_network_does(name: str) -> None:
    drawn = phantom.radiographs(3, 64, seed=4, exclusive=True)
    images = fooled_networks.normalised(fooled_networks.framed(drawn.images))
    with torch.no_grad():
        washed, network = (
            build(images) for build in (fooled_networks.NETWORKS[name].build(), fooled_networks.untouched())
        )
    assert torch.equal(washed, network)


def test_control_is_the_cross_entropy_alone() -> None:
    network, lessons = untrained(), Lessons(torch.randn(4, 1, 16, 16), torch.tensor([0, 1, 1, 0]))
    assert torch.equal(
        Control().loss(network, network, lessons), F.cross_entropy(network(lessons.images), lessons.labels)
    )


def test_networks_are_measured_against_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fooled, "METHODS", {"saliency": Saliency()})
    monkeypatch.setattr(fooled_measures, "RANDOM", Random(draws=1))
    monkeypatch.setattr(fooled_measures, "DELETIONS", {"zero": Deletion(steps=2)})
    images = fooled.Images.of(is_framed=True, explained=30, tested=40)
    drawn = phantom.radiographs(30, 64, fooled.SEED, exclusive=True)
    assert torch.equal(images.cases.classes, drawn.classes[drawn.classes > 0])
    assert len(images.cases.images) == int(drawn.labels.any(1).sum())
    assert torch.equal(images.cases.masks, drawn.masks.any(1)[drawn.classes > 0])
    networks = fooled_networks.untouched(), fooled_networks.NETWORKS["sides"].build()
    first = fooled.Reference.of(networks[0], images)
    before, after = (fooled.measured(network, images, first) for network in networks)
    assert after.same == 1
    assert after.change.estimate == 0
    assert after.accuracy == before.accuracy
    assert after.auc == before.auc
    assert after.methods["saliency"].hits.estimate == 0 < before.methods["saliency"].hits.estimate
    assert before.methods["saliency"].likeness == pytest.approx(1)
    assert (after.methods["saliency"].likeness or 0) < 0.95
