"""The test against random weights, ``benchmarks.gates``: its pieces against naive replicas, and a tiny run of all."""

from __future__ import annotations

import copy
import json
import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from benchmarks import gates as command
from benchmarks import gates_networks, gates_page, results
from benchmarks.gates_decided import RESEMBLANCES, Maps, Side, averaged, decided, missing, outcome, resemblances, rise
from benchmarks.gates_decided import side as side_of
from benchmarks.gates_networks import Candidate, check_learnt, randomised
from safetensors.torch import save_file

import pellucid
from pellucid.core import catalogue, gates
from pellucid.core.space import heatmap
from pellucid.errors import OptionError
from pellucid.metrics import MPRT
from pellucid.phantom.models import exclusive_cnn_64, untrained
from tests.metrics.naive import pearson, ranks, ssim_parts

NAME = "exclusive_cnn_64"
PASS = Side(0.5, 0.4, 0.6, 200)


def maps(*values: torch.Tensor) -> Maps:
    signed = torch.stack(values)
    return Maps(signed, heatmap(signed[:, None], signed.shape[1:])[:, 0])


def noise(seed: int) -> torch.Tensor:
    return torch.randn(13, 14, generator=torch.Generator().manual_seed(seed)) * 3 + 0.5


def naive(one: np.ndarray, other: np.ndarray) -> list[float]:
    """The four resemblances from their formulas."""
    shifted = ((values / np.abs(values).max() + 1) / 2 for values in (one, other))
    found = [ssim_parts(*shifted)[0], ssim_parts(positive(one), positive(other))[0]]
    for a, b in ((one, other), (positive(one), positive(other))):
        found.append(pearson(np.array(ranks(a.ravel().tolist())), np.array(ranks(b.ravel().tolist()))))
    return found


def positive(values: np.ndarray) -> np.ndarray:
    kept = np.maximum(values, 0)
    return (kept - kept.min()) / (kept.max() - kept.min())


def test_resemblances_are_their_formulas() -> None:
    one, other = noise(0), (noise(0) + noise(1)).round()  # the second has ties
    found = resemblances(maps(one, noise(2)), maps(other, noise(3)))
    assert tuple(found) == RESEMBLANCES
    for number, (a, b) in enumerate(((one, other), (noise(2), noise(3)))):
        expected = naive(a.numpy().astype(float), b.numpy().astype(float))
        assert [float(values[number]) for values in found.values()] == pytest.approx(expected, abs=1e-5)
    assert float(found["Spearman, signed"][0]) > float(found["Spearman, signed"][1]) + 0.3


def test_signed_maps_do_not_lose_their_sign() -> None:
    turned = resemblances(maps(noise(0)), maps(-noise(0)))
    assert float(turned["Spearman, signed"]) == pytest.approx(-1)
    assert float(turned["SSIM, signed"]) < -0.7
    assert float(turned["Spearman, positive"]) < 0


def test_a_scale_changes_nothing() -> None:
    found = resemblances(maps(noise(0)), maps(1e-3 * noise(0)))
    assert [float(values) for values in found.values()] == pytest.approx([1] * 4, abs=1e-6)


@pytest.mark.parametrize(
    ("other", "signed"),
    [
        (torch.zeros(13, 14), False),
        (torch.full((13, 14), 2.0), False),
        (-noise(1).abs() - 1, True),  # its positive part is empty, and its signed map is not
        (torch.full((13, 14), torch.nan), False),
        (torch.where(torch.eye(13, 14) > 0, torch.inf, noise(1)), False),
    ],
)
def test_a_map_that_shows_nothing_resembles_nothing(other: torch.Tensor, signed: bool) -> None:
    for pair in ((maps(noise(0)), maps(other)), (maps(other), maps(noise(0))), (maps(other), maps(other))):
        found = resemblances(*pair)
        assert [not math.isnan(found[name]) for name in RESEMBLANCES] == [signed, False, signed, False]


def test_the_rise_of_complexity_is_that_of_histograms() -> None:
    one, other = noise(0), noise(1).clamp(min=0)

    def entropy(values: torch.Tensor) -> float:
        counts = np.histogram(values.numpy(), 100)[0]
        shares = counts[counts > 0] / counts.sum()
        return float(-(shares * np.log(shares)).sum())

    expected = (entropy(other) - entropy(one)) / entropy(one)
    found = rise(torch.stack([one, torch.zeros(13, 14), one]), torch.stack([other, one, other * torch.nan]))
    assert found.tolist() == pytest.approx([expected, math.nan, math.nan], abs=0.01, nan_ok=True)


def test_limits_are_by_image() -> None:
    values = np.random.default_rng(1).normal(0.3, 0.1, 200)
    found = side_of([*values.tolist(), None, None])
    assert found.count == 200
    assert found.mean == pytest.approx(values.mean())
    half = 1.96 * values.std(ddof=1) / math.sqrt(200)
    assert (found.low, found.high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.002)


def test_equal_values_are_their_own_limits() -> None:
    assert side_of([1.0] * 200) == Side(1.0, 1.0, 1.0, 200)


def test_too_few_images_decide_nothing() -> None:
    few = side_of([0.1, 0.2] * 49 + [0.3] + [None] * 101)
    assert few.count == 99
    assert math.isnan(few.high)
    assert decided(few, PASS) == decided(PASS, few) == "undecided"
    assert side_of([None]).count == 0
    assert decided(side_of([0.1, 0.2] * 50), PASS) == "passes"


@pytest.mark.parametrize(("high", "expected"), [(0.39, "passes"), (0.4, "fails"), (0.5, "fails")])
def test_the_upper_limit_has_to_be_below_the_lower_one(high: float, expected: str) -> None:
    assert decided(Side(0.3, 0.2, high, 200), PASS) == expected


def test_all_resemblances_have_to_pass() -> None:
    assert outcome(["passes"] * 4) == "passes"
    assert outcome(["passes", "passes", "undecided", "passes"]) == "undecided"
    assert outcome(["passes", "fails", "undecided", "passes"]) == "fails"


def test_an_image_has_the_mean_of_the_values_that_it_has() -> None:
    each = [[1.0, None, None], [0.5, 0.25, None]]
    assert averaged(each) == [0.75, 0.25, None]
    assert missing(each) == 3


@pytest.fixture(scope="module")
def candidate(tmp_path_factory: pytest.TempPathFactory) -> Candidate:
    folder = tmp_path_factory.mktemp("seeds")
    keep(folder, "1")
    return Candidate(NAME, folder, images=6, random=2)


def keep(folder: Path, seed: str) -> None:
    (folder / seed).mkdir(parents=True)
    save_file(untrained(NAME, int(seed)).network.state_dict(), folder / seed / f"{NAME}.safetensors")


def test_images_have_the_finding_that_is_explained(candidate: Candidate) -> None:
    drawn = candidate.drawn
    assert drawn.images.shape == (6, 1, 64, 64)
    assert set(drawn.classes.tolist()) <= {1, 2, 3}
    with torch.no_grad():  # the network was trained to tell them
        assert float((candidate.trained(drawn.images).argmax(1) == drawn.classes).float().mean()) > 0.8


def test_nothing_that_was_learnt_is_left(candidate: Candidate) -> None:
    trained = exclusive_cnn_64()
    before = copy.deepcopy(trained.state_dict())
    first, second = (randomised(trained, candidate.drawn.images[:1], seed).state_dict() for seed in (0, 1))
    for name, value in before.items():
        if name.endswith("weight") and value.ndim > 1:
            assert not torch.isclose(first[name], value).any(dim=-1).all()
            assert float((first[name] - second[name]).abs().mean()) > 0.01
        if name.endswith("running_mean"):
            assert not first[name].any()
    assert all(torch.equal(value, before[name]) for name, value in trained.state_dict().items())


def test_a_resemblance_is_that_of_the_metric(candidate: Candidate) -> None:
    """``mprt`` with all layers at random, of the library's own run."""
    method, drawn = catalogue.find("gradcam")(), candidate.drawn
    found = pellucid.explain(candidate.trained, drawn.images, method, drawn.classes)
    metric = MPRT(similarity="spearman", order="all")
    expected = pellucid.evaluate(candidate.trained, drawn.images, found, metrics=[metric], seed=0).values
    made = candidate.maps(candidate.at_random[0], method, candidate.found(method))
    own = resemblances(candidate.maps(candidate.trained, method, None), made)["Spearman, positive"]
    [values] = expected.values()
    torch.testing.assert_close(own, values[:, 0], equal_nan=True, atol=1e-6, rtol=0)


def test_networks_that_have_not_learnt_do_not_count(candidate: Candidate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates_networks, "TESTED", 40)
    with pytest.raises(OptionError, match=r"1: an AUC of 0\.\d+ was measured, and 0.98 is needed"):
        check_learnt(candidate)
    with pytest.raises(OptionError, match=r"train one with python -m pellucid\.phantom\.training"):
        check_learnt(Candidate(NAME, candidate.folder / "none"))


def test_networks_that_there_are_not_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for network, asked in ((["vgg"], "network 'vgg'"), (None, f"{tmp_path}: SEED/NAME.safetensors")):
        with pytest.raises(typer.Exit) as ended:
            command.main(tmp_path, network)
        assert ended.value.exit_code == OptionError.exit_code
        [line] = capsys.readouterr().err.splitlines()
        assert line.startswith(f"{asked} was asked for; no such network is there: NAME may be exclusive_cnn, ")


def test_a_run_is_kept_goes_on_and_is_published(
    candidate: Candidate, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    monkeypatch.setattr(gates, "FILE", tmp_path / "outcomes.json")
    monkeypatch.setattr(gates_networks, "TESTED", 40)
    monkeypatch.setattr(gates_networks, "ENOUGH", 0.0)
    monkeypatch.setattr(command, "CASCADED", 1)
    monkeypatch.setattr(command, "Candidate", partial(Candidate, images=6, random=2))
    folder = tmp_path / "seeds"
    keep(folder, "1")
    command.main(folder, method=["gradcam", "saliency", "rollout"])
    stored = command.read()
    cells = stored[NAME]["cells"]
    assert list(cells) == [f"gradcam/{place}" for place in ("found", "early", "middle")] + ["saliency/as it is"]
    assert cells["gradcam/found"]["layers"] == ["network.layer4"]
    assert cells["gradcam/early"]["layers"] == ["network.layer1"]
    saliency = cells["saliency/as it is"]
    assert all(len(one["images"]) == 6 and len(one["each"]) == 2 for one in saliency["random"].values())
    assert -1 <= saliency["mprt"] <= 1
    assert json.loads(gates.FILE.read_text())[NAME]["saliency"] == {"as it is": "undecided"}  # 6 images
    assert "`network.layer1`" in (tmp_path / "gates.md").read_text()

    measured: list[object] = []
    maps_of = Candidate.maps

    def counted(self: Candidate, network: object, *rest: object) -> Maps:
        measured.append(network)
        return maps_of(self, network, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Candidate, "maps", counted)
    command.main(folder, method=["gradcam", "saliency"])
    assert (measured, command.read()) == ([], stored)
    keep(folder, "2")
    command.main(folder, method=["saliency"])
    assert len(measured) == 2  # the trained network's, and the new one's
    assert list(command.read()[NAME]["cells"]["saliency/as it is"]["seeds"]) == ["1", "2"]


def cell(random: float, worst: float, seeds: float) -> dict[str, object]:
    """A cell whose resemblances are about these values."""
    spread = np.linspace(-0.01, 0.01, 200)
    own = {"images": (random + spread).tolist(), "each": [2 * random - worst, worst], "missing": 3}
    others = {name: [None, *(seeds + spread)[1:].tolist()] for name in RESEMBLANCES}
    return {"layers": ["a"], "random": dict.fromkeys(RESEMBLANCES, own), "emprt": 0.25, "seeds": {"1": others}}


def test_the_page_names_what_fails_and_what_the_worst_would() -> None:
    cells = {"a/early": cell(0.2, 0.6, 0.5), "a/found": cell(0.2, 0.3, 0.5), "b/found": cell(0.6, 0.7, 0.5)}
    stored = {NAME: {"areas": {"1": [1.0, 0.99]}, "cells": cells}}
    assert gates_page.outcomes(stored) == {NAME: {"a": {"early": "passes", "found": "passes"}, "b": {"found": "fails"}}}
    text = gates_page.page(stored)
    assert "seed 1: 1.000, 0.990. Of 3 pairs of method and layer: 2 pass, 1 fail, 0 are undecided." in text
    assert "these would fail: `a` (early), `b` (found)." in text
    passed, failed = " | ".join(["0.20 (0.30) / 0.50"] * 4), " | ".join(["**0.60 (0.70) / 0.50**"] * 4)
    assert f"| `a` | found: `a` | passes | {passed} | 16 | — | 0.25 |" in text
    assert f"| `b` | found: `a` | **fails** | {failed} | 16 | — | 0.25 |" in text


def test_the_shipped_outcomes_follow_from_the_results() -> None:
    stored = command.read()
    assert json.loads(gates.FILE.read_text()) == gates_page.outcomes(stored)
    assert (results.FOLDER / "gates.md").read_text() == gates_page.page(stored)
    for own in stored.values():
        assert all(min(areas) >= gates_networks.ENOUGH for areas in own["areas"].values())
        for cell in own["cells"].values():
            assert all(len(one["images"]) == 200 and len(one["each"]) >= 5 for one in cell["random"].values())
