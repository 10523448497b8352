"""The speed benchmarks, on calls whose cost is known; no test depends on how long a call takes."""

from __future__ import annotations

import math
import mmap
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torchvision
from benchmarks import evaluation_remade, folder, growth, measuring, peers, speed
from benchmarks.measuring import Ratio

import pellucid
from tests.networks import TinyCNN, images, seeded

CASES = list(speed.cases())


def test_calls_alternate_after_one_warm_up_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    clock = {"base": 2.0, "other": 3.0}
    monkeypatch.setattr(measuring, "seconds", lambda call: clock[call()])

    def note(name: str) -> str:
        called.append(name)
        return name

    found = measuring.ratio(lambda: note("base"), lambda: note("other"), 3)
    assert called == ["base", "other"] * 4
    assert (found.low, found.median, found.high) == (1.5, 1.5, 1.5)
    assert str(found) == "1.50 (1.50–1.50)"
    assert measuring.paired(lambda: note("base"), lambda: note("other"), 2) == [(2.0, 3.0)] * 2


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_memory_that_a_call_frees_is_measured() -> None:
    def take() -> None:
        with mmap.mmap(-1, 2**26) as area:  # mapped anew: memory that was freed before is not reused
            for page in range(0, 2**26, 4096):
                area[page] = 1

    for _ in range(2):
        assert 0.9 * 2**26 < measuring.memory_growth(take) < 1.5 * 2**26


def test_memory_is_nan_on_other_systems(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setattr(measuring, "_PROCESS", tmp_path / "none")
    assert math.isnan(measuring.memory_growth(lambda: None))


def test_every_case_names_a_known_call_and_network() -> None:
    assert all(case.call in speed.CALLS or case.call in peers.PEERS for case in CASES)
    assert {case.network for case in CASES} - set(speed.VOLUMES) <= set(torchvision.models.list_models())
    assert all(
        point.network in torchvision.models.list_models() for points in growth.PANELS.values() for point in points
    )


NAMED = {case.network for case in CASES if "vit" not in case.network} - set(speed.VOLUMES)


@pytest.mark.parametrize("network", sorted(NAMED))
def test_others_are_asked_about_the_layer_that_is_found(network: str) -> None:
    model = torchvision.models.get_model(network, weights=None)
    found = pellucid.recommended_layers(model, input_size=(3, 64, 64))
    layers = speed.LAYERS[type(model).__name__]
    assert layers[-1:] == list(found)
    model.get_submodule(layers[0])


@pytest.mark.parametrize("call", sorted(speed.CALLS))
def test_every_call_can_be_made(call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "LAYERS", {"TinyCNN": ["features.1", "features.4"]})
    model, batch = seeded(TinyCNN, 2, 20).eval(), images(2)
    if "rollout" in call:
        with pytest.raises(pellucid.errors.NoAttentionError):
            speed.CALLS[call](model, batch)()
        return
    if "fast" in call and shutil.which("g++") is None:
        pytest.skip("torch.compile needs a C++ compiler")
    speed.CALLS[call](model, batch)()


@pytest.mark.parametrize("name", peers.available())
def test_other_libraries_return_the_same_maps(name: str) -> None:
    model, batch = seeded(TinyCNN, 2, 20).eval(), images(3)
    layer = pellucid.recommended_layers(model, input_size=(3, 32, 32))[0]
    theirs = peers.explainer(name, model, layer)(batch)
    ours = pellucid.explain(model, batch, targets=0, layers=[layer])
    for own, other, empty in zip(ours.heatmaps[:, 0], theirs, ours.degenerate[:, 0], strict=True):
        if not empty:
            assert torch.corrcoef(torch.stack([own.flatten(), other.flatten()]))[0, 1] > 0.999


def test_figures_above_their_limit_are_marked() -> None:
    case = speed.Case("resnet50", "gradcam", 1.08, 1.25)
    row = speed.Row(case, Ratio(1.07, 1.0, 1.1), 1.3, None)
    peer = speed.Row(replace(case, call="captum", limit=None, memory_limit=None), Ratio(2, 1.9, 2.1), math.nan, 0.99996)
    page = speed.page([row, peer])
    assert "| resnet50, 16 | gradcam | 1.07 (1.00–1.10) | 1.08 | 1.30 **!** | 1.25 |  |" in page
    assert "| resnet50, 16 | captum | 2.00 (1.90–2.10) |  |  |  | 1.0000 |" in page
    assert f"torch {torch.__version__}" in page


def test_earlier_rows_are_kept(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "FOLDER", tmp_path)
    rows = [speed.Row(CASES[0], Ratio(1.0, 0.9, 1.1), 1.2, None), speed.Row(CASES[1], Ratio(1.5, 1.4, 1.6), 1.0, 0.99)]
    speed._write(rows)
    assert list(speed._read().values()) == rows
    monkeypatch.setattr(speed, "measured", lambda case, pairs: speed.Row(case, Ratio(2.0, 2.0, 2.0), 2.0, None))
    speed.main(only="vit", plots=False)
    known = speed._read()
    assert [known[row.case] for row in rows] == rows
    assert all(known[case].memory == 2.0 for case in CASES if case.network == "vit_b_16")


def test_growth_is_written_and_plotted(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "in_new_process", lambda function, point: Ratio(1.0, 0.9, 1.1))
    growth.write(tmp_path)
    assert (tmp_path / "growth.png").read_bytes().startswith(b"\x89PNG")
    assert len((tmp_path / "growth.csv").read_text().splitlines()) > sum(map(len, growth.PANELS.values()))


@pytest.fixture
def work(tmp_path, monkeypatch: pytest.MonkeyPatch) -> folder.Work:
    monkeypatch.setattr(folder, "SIDE", 64)
    monkeypatch.setattr(folder, "DRAWN", 2)
    return folder.prepared(torchvision.models.resnet18(weights=None).eval(), tmp_path, 3)


@pytest.mark.parametrize("call", sorted(folder.CALLS))
def test_a_folder_is_explained(call: str, work: folder.Work) -> None:
    if call.startswith(folder.PEER) and folder.PEER not in peers.available():
        pytest.skip(f"{folder.PEER} is not installed")
    if "fast" in call and shutil.which("g++") is None:
        pytest.skip("torch.compile needs a C++ compiler")
    folder.CALLS[call](work)()
    written = {path.stem.removesuffix("_overlay") for path in work.output.glob("*.png") if "heatmap" not in path.stem}
    has_files = "folder" in call or folder.PEER in call
    assert written == ({"0000", "0001", "0002"} if has_files else set())


class _Pool:
    """Stands for a process: the seconds of the calls in each round, and a peak."""

    def __init__(self, taken: dict[str, list[float]], peak: float) -> None:
        self._taken, self._peak = {name: iter(each) for name, each in taken.items()}, peak

    def __enter__(self) -> _Pool:
        return self

    def __exit__(self, *raised: object) -> None: ...

    def apply(self, function: object, arguments: tuple[str]) -> tuple[float, float]:
        return next(self._taken[arguments[0]]), self._peak


def test_a_folder_is_measured_in_images_per_second(work: folder.Work, monkeypatch: pytest.MonkeyPatch) -> None:
    base, loop, rounds = folder.BASE, folder.LOOP, [1.0, 4.0, 9.0, 8.0]  # the first is the warm-up
    by_default = {base: rounds, loop: [1.0, 8.0, 18.0, 16.0], "ours": [9.0, 2.0, 3.0, 2.0]}
    kept = {base: [1.0, 2.0, 4.5, 4.0], loop: rounds, "ours": [9.0, 1.0, 1.5, 1.0]}
    groups = {"forward": [base], "pellucid": ["ours"], folder.PEER: [loop]}
    started: list[str] = []

    def pool(count: int, begin: object, arguments: tuple[str, bool, Path, Path]) -> _Pool:
        group, keeps, _, output = arguments
        started.append(output.name)
        taken = kept if keeps else by_default
        return _Pool({name: taken[name] for name in groups[group]}, 2.5 if keeps else 2.0)

    monkeypatch.setattr(folder.multiprocessing, "get_context", lambda kind: SimpleNamespace(Pool=pool))
    monkeypatch.setattr(folder, "GROUPS", {group: dict.fromkeys(names) for group, names in groups.items()})
    monkeypatch.setattr(folder, "CALLS", dict.fromkeys([base, loop, "ours"]))
    rows = folder.measured(work, 3)
    assert len(set(started)) == 6  # what one process leaves in its heap is of no use to another
    rates = folder.over(rows, base)
    assert rates["ours", False] == Ratio(3.0, 2.0, 4.0)
    assert rates["ours", True] == Ratio(6.0, 4.0, 8.0)
    assert rates[base, True].median == 2.0
    text = folder.page(rows, {"the forward pass": 0.5, "reading": 0.1}, 3)
    assert "| ours | 3.00 (2.00–4.00) | 6.00 (4.00–8.00) | 6.00 | 12.00 | 1.25 |" in text
    assert "| reading | 0.20 |" in text


def test_a_worker_measures_its_calls(work: folder.Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "GROUPS", {"ours": {"files": lambda work: lambda: len(work.files())}})
    monkeypatch.setattr(folder, "_made", {})
    folder._begin("ours", False, work.images, work.output)
    taken, peak = folder._seconds("files")
    assert taken > 0
    assert peak > 0


def test_every_step_of_an_image_is_measured(work: folder.Work) -> None:
    steps = folder.stages(work, repeats=1)
    assert all(time > 0 for name, time in steps.items() if "beyond" not in name and "as well" not in name)


def test_the_table_of_metrics_that_make_maps_again_is_beside_quantus(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(evaluation_remade, "FOLDER", tmp_path)
    few, many, theirs = evaluation_remade.CASES
    rows = {few: Ratio(1.2, 1.1, 1.3), many: Ratio(1.25, 1.2, 1.3), theirs: Ratio(2.5, 2.4, 2.6)}
    evaluation_remade.write(rows)
    assert evaluation_remade._read() == rows
    text = (tmp_path / "evaluation_remade.md").read_text()
    assert "| max_sensitivity, 10 copies | 10 | 1.20 (1.10–1.30) **!** | 1.15 |" in text
    assert "| mprt, 41 layers | over Quantus's | 0.50 | 0.6 |" in text
