"""The pieces of ``benchmarks.unguided``, on small networks, against sums by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from benchmarks import results, unguided, unguided_networks
from benchmarks.unguided import Layer, Measured
from benchmarks.unguided_networks import Part, Student
from torch import nn

import pellucid
from pellucid import phantom
from pellucid.metrics.pointing import pointing_hits

SMALL = Student("small", unguided_networks._vit(2, 16), hinted=0)
SHORT = Part(3, 1e-3, batch=2)
KNOWN = Measured(
    (0.9, 1.0, 0.95), 50, "blocks.1.norm1", (Layer("norm", 0.5, 10, 1.0), Layer("blocks.1.norm1", 0.95, 40, 2.0))
)


def test_rank_correlation_with_ties() -> None:
    assert unguided.correlation([1, 2, 2, 3], [10, 20, 30, 40]) == pytest.approx(3 / math.sqrt(10))
    assert unguided.correlation([1, 2, 3], [9, 4, 1]) == pytest.approx(-1)


def test_page_names_the_found_and_the_best_layer() -> None:
    missed = Measured(KNOWN.auc, 50, "norm", (replace(KNOWN.layers[0], fall=3.0), KNOWN.layers[1]))
    text = unguided.page({"vit6": KNOWN, "swin6": missed}, 0.031)
    best, norm = "`blocks.1.norm1` (0.95): 80.0 %", "`norm` (0.50): 20.0 %"
    assert f"| ViT, 6 blocks | 0.90, 1.00, 0.95 | 50 | {best} | {best} | {best} | 1.00 | 1.00 |" in text
    assert f"| 50 | {norm} | {best} | {norm} | 1.00 | -1.00 |" in text
    assert "| **`norm`, found** | 0.50 | 20.0 % (10–34) | 3.00 |" in text
    assert "A random pixel hits in 3.1 %" in text


def test_results_are_stored_and_drawn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    assert unguided.read() == {}
    unguided.keep({"swin6": KNOWN, "vit6": KNOWN})
    assert unguided.read() == {"vit6": KNOWN, "swin6": KNOWN}
    unguided.plot(unguided.read(), tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_networks_are_trained_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(unguided, "CACHE", tmp_path)
    monkeypatch.setattr(unguided, "IMAGES", 4)
    monkeypatch.setitem(unguided_networks.STUDENTS, "small", SMALL)  # type: ignore[misc]
    for name in ("teach", "distilled"):
        parts = (SHORT,) if name == "teach" else (SHORT, SHORT)
        of = getattr(unguided_networks, name)
        monkeypatch.setattr(unguided, name, lambda *args, of=of, parts=parts: of(*args, *parts))
    ((_, trained),) = unguided.networks(["small"])
    monkeypatch.setattr(unguided, "draw", None)
    ((_, again),) = unguided.networks(["small"])
    image = torch.randn(1, 1, 96, 96)
    assert torch.equal(trained(image), again(image))
    assert not torch.equal(trained(image), SMALL.build()(image))
    assert sorted(path.stem for path in tmp_path.iterdir()) == ["small", "teacher"]


def test_a_student_learns_from_the_teacher_alone() -> None:
    pool = unguided_networks.draw(4)
    features = torch.randn(4, 8, 12, 12, generator=torch.Generator().manual_seed(0)).half()
    for sign in (-1.0, 1.0):  # whatever the labels
        known = unguided_networks.Lessons(features, torch.full((4, 3), 9.0 * sign))
        network = unguided_networks.distilled(SMALL, pool, known, SHORT, Part(30, 1e-2, batch=4))
        assert (sign * network(unguided_networks._prepared(pool.images)) > 1).all()


def test_hits_of_each_layer() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = SMALL.build().eval()
        head: nn.Linear = network.head  # type: ignore[assignment]
        nn.init.normal_(head.weight)
        nn.init.constant_(head.bias, 50.0)  # every finding is detected
    drawn = phantom.radiographs(6, unguided_networks.SIDE, seed=3)
    found = unguided.measured(network, drawn, phantom.radiographs(8, unguided_networks.SIDE, seed=5))
    assert found.count == int(drawn.labels.sum())
    assert [found.found] == pellucid.recommended_layers(network, (1, 96, 96))
    names = [layer.name for layer in found.layers]
    assert {"norm", "blocks.0", "blocks.1", "blocks.0.norm1", "blocks.1.norm1"} <= set(names)
    assert not {"blocks", "blocks.0.mlp.fc1"} & set(names)
    images = unguided_networks.normalised(drawn.images)
    layer, hits, falls = next(one for one in found.layers if one.name == "blocks.0.norm1"), 0, []
    for index, finding in drawn.labels.nonzero().tolist():
        one = images[index : index + 1]
        heat = pellucid.explain(network, one, "hirescam", finding, layers=[layer.name], head="sigmoid").heatmaps[:, 0]
        hits += int(pointing_hits(heat, drawn.masks[index : index + 1, finding], 4.0))
        ((_, fallen),) = unguided.falls(network, drawn.images[index : index + 1], {"": heat}, finding)
        falls.append(float(fallen))
    assert layer.hits == hits
    assert layer.fall == pytest.approx(sum(falls) / len(falls), abs=1e-4)
