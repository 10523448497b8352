"""Explaining files: images are read while the model works, few are held, and the readers leave warnings alone."""

from __future__ import annotations

import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

import pellucid
from pellucid import io
from pellucid.core.catalogue import find
from pellucid.errors import PellucidWarning
from pellucid.io import read_image
from pellucid.models.preprocessing import Preprocessing
from pellucid.run import job
from pellucid.run.finding import inputs
from pellucid.run.inputs import Input
from pellucid.run.job import Job
from pellucid.run.prefetch import Prefetcher
from pellucid.run.results import Results
from tests.networks import TinyCNN, seeded

PATIENCE = 60
"""Seconds until a test that waits for another thread fails."""


def save_images(folder: Path, count: int, side: int = 24) -> Path:
    folder.mkdir()
    for index in range(count):
        levels = np.random.default_rng(index).integers(0, 256, (side, side, 3), dtype=np.uint8)
        Pillow.fromarray(levels).save(folder / f"{index:02}.png")
    return folder


def made(output: Path, batch_size: int = 1) -> Job:
    return Job(
        seeded(TinyCNN).eval(),
        [find("gradcam")()],
        Preprocessing(resize=(16, 16)),
        Results(output, ["overlay"]),
        runtime=pellucid.Runtime(batch_size=batch_size),
    )


def test_the_next_image_is_read_while_the_model_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = inputs([save_images(tmp_path / "in", 3)], tmp_path / "out")
    second, opened = threading.Event(), job.open_input
    explain = pellucid.Explainer.__call__

    def noted(file: Input, *how: object) -> pellucid.Image:
        if file.path.name == "01.png":
            second.set()
        return opened(file, *how)

    def waiting(explainer: pellucid.Explainer, batch, targets) -> pellucid.Explanation:
        assert second.wait(PATIENCE)
        return explain(explainer, batch, targets)

    monkeypatch.setattr(job, "open_input", noted)
    monkeypatch.setattr(pellucid.Explainer, "__call__", waiting)
    outcomes = list(made(tmp_path / "out").outcomes(files))
    assert [outcome.path.name for outcome in outcomes] == ["00.png", "01.png", "02.png"]
    assert all(path.is_file() for outcome in outcomes for path in outcome.files)


def test_images_are_written_while_the_model_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = inputs([save_images(tmp_path / "in", 2)], tmp_path / "out")
    explain, write = pellucid.Explainer.__call__, Results.write
    working = threading.Event()
    calls = []

    def explaining(explainer: pellucid.Explainer, batch, targets) -> pellucid.Explanation:
        calls.append(batch)
        if len(calls) == 2:
            working.set()
        return explain(explainer, batch, targets)

    def writing(results: Results, *arguments):
        assert working.wait(PATIENCE)  # the first image is written after the model began with the second
        return write(results, *arguments)

    monkeypatch.setattr(pellucid.Explainer, "__call__", explaining)
    monkeypatch.setattr(Results, "write", writing)
    assert [outcome.error for outcome in made(tmp_path / "out").outcomes(files)] == [None, None]


def test_few_large_images_are_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "_MAX_VALUES", 1)
    files = inputs([save_images(tmp_path / "in", 30)], tmp_path / "out")
    lock, held, most, read, write = threading.Lock(), [0], [0], job.open_input, Results.write

    def count(change: int) -> None:
        with lock:
            held[0] += change
            most[0] = max(most[0], held[0])

    monkeypatch.setattr(job, "open_input", lambda *arguments: count(1) or read(*arguments))
    monkeypatch.setattr(Results, "write", lambda *arguments: (write(*arguments), count(-1))[0])
    outcomes = list(made(tmp_path / "out", batch_size=16).outcomes(files))
    assert len(outcomes) == 30
    assert held == [0]
    assert most[0] <= job._WORKERS + 3  # one explained, one written, one asked for


def test_order_is_kept_where_sizes_and_errors_mix(tmp_path: Path) -> None:
    folder = save_images(tmp_path / "in", 6)
    (folder / "02.png").write_text("no image")
    files = inputs([folder], tmp_path / "out")
    mixed = Preprocessing()  # each of its own size
    Pillow.new("RGB", (40, 20), "red").save(folder / "03.png")
    whole = made(tmp_path / "out", batch_size=4)
    outcomes = list(Job(whole.model, whole.methods, mixed, whole.results, runtime=whole.runtime).outcomes(files))
    assert [outcome.path.name for outcome in outcomes] == [f"{index:02}.png" for index in range(6)]
    assert [outcome.error is not None for outcome in outcomes] == [False, False, True, False, False, False]


def test_who_stops_asking_ends_the_work(tmp_path: Path) -> None:
    files = inputs([save_images(tmp_path / "in", 20)], tmp_path / "out")
    outcomes = made(tmp_path / "out").outcomes(files)
    next(outcomes)
    before = threading.active_count()
    outcomes.close()
    assert threading.active_count() < before
    assert len(list((tmp_path / "out").glob("*.png"))) < 20
    assert not list((tmp_path / "out").glob(".part-*"))


def test_reading_warns_at_the_caller_and_leaves_the_filters_alone(tmp_path: Path) -> None:
    path = tmp_path / "dark.png"
    Pillow.fromarray(np.full((8, 8), 4095, np.uint16)).save(path)
    before = list(warnings.filters)
    with pytest.warns(PellucidWarning, match="12 bits") as caught:
        read_image(path)
    assert caught[0].filename == __file__
    assert warnings.filters == before


def test_a_file_that_goes_away_while_it_is_read_costs_its_own_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, digest = inputs([save_images(tmp_path / "in", 3)], tmp_path / "out"), io.digest

    def leaving(path: Path) -> str:
        if path.name == "01.png":
            path.unlink()
        return digest(path)

    monkeypatch.setattr(io, "digest", leaving)
    errors = [outcome.error for outcome in made(tmp_path / "out", batch_size=2).outcomes(files)]
    assert [error is not None for error in errors] == [False, True, False]
    assert "No such file" in str(errors[1])


def test_what_was_written_is_released(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made_ahead: list[Prefetcher] = []
    monkeypatch.setattr(
        job, "Prefetcher", lambda *arguments: made_ahead.append(Prefetcher(*arguments)) or made_ahead[0]
    )
    folder = save_images(tmp_path / "in", 5)
    (folder / "02.png").write_text("no image")
    list(made(tmp_path / "out", batch_size=2).outcomes(inputs([folder], tmp_path / "out")))
    assert made_ahead[0]._weight == 0
