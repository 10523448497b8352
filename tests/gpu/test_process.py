"""Threads, memory and commands on a GPU."""

from __future__ import annotations

import copy
import gc
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F
from typer.testing import CliRunner

import pellucid
from pellucid import phantom
from pellucid.cli.main import app
from pellucid.core.runtime import Runtime
from tests.contract.test_methods import explained, network, plain, tolerance
from tests.models.test_concurrency import beside
from tests.networks import TinyCNN, images

pytestmark = pytest.mark.gpu
GPU = "cuda"
BESIDE = ["gradcam", "saliency", "ablationcam", "guided_backprop", "rise", "fullgrad"]


def wait_for(rounds: list[int]) -> None:
    """Until the other thread works; a thread that died of an error never does."""
    for _ in range(3000):
        if len(rounds) > 2:
            return
        time.sleep(0.01)
    pytest.fail("the other thread does not work")


@pytest.mark.parametrize("name", BESIDE)
def test_beside_a_thread_that_predicts(name: str) -> None:
    model, batch = copy.deepcopy(network(TinyCNN)).to(GPU), images(2).to(GPU)
    with torch.no_grad():
        expected = model(batch)

    def predict() -> None:
        found = model(batch)
        assert found.requires_grad
        torch.testing.assert_close(found, expected)

    with beside(predict) as rounds:
        wait_for(rounds)
        for _ in range(10):
            found = explained(model, name, batch)
            torch.testing.assert_close(
                found.heatmaps.cpu(), plain(name, TinyCNN).heatmaps, rtol=0, atol=10 * tolerance(name)
            )


@pytest.mark.parametrize("name", BESIDE)
def test_beside_a_thread_that_trains(name: str) -> None:
    """Another model: its steps draw dropout's numbers, and stay those of a training alone."""
    model, other = copy.deepcopy(network(TinyCNN)).to(GPU), copy.deepcopy(network(TinyCNN)).to(GPU).train()
    optimizer = torch.optim.SGD(other.parameters(), lr=1e-3)

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(other(images(4).to(GPU)), torch.arange(4, device=GPU)).backward()
        assert all(one.grad is not None for one in other.parameters())
        optimizer.step()

    with beside(step) as rounds:
        wait_for(rounds)
        for _ in range(10):
            explained(model, name, images(2))
    assert other.training
    assert not any(one._forward_hooks for one in other.modules())


@contextmanager
def little_memory(mebibytes: int) -> Iterator[None]:
    """At most so much of the GPU's memory for this process."""
    gc.collect()
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + mebibytes * 2**20) / total)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()


def test_fewer_images_at_a_time_where_all_do_not_fit() -> None:
    model, batch = copy.deepcopy(network(TinyCNN)).to(GPU), torch.rand(64, 3, 512, 512)
    pellucid.explain(model, batch[:1], "gradcam", 1)
    expected = pellucid.explain(model, batch[60:], "gradcam", 1).to("cpu")
    with little_memory(260), pytest.warns(pellucid.PellucidWarning, match="batch_size=64 does not fit into memory"):
        found = pellucid.explain(model, batch, "gradcam", 1, runtime=Runtime(batch_size=64)).to("cpu")
    torch.testing.assert_close(found.heatmaps[60:], expected.heatmaps, rtol=0, atol=1e-4)


def test_an_image_that_does_not_fit_is_torchs_own_error_and_leaves_the_memory_free() -> None:
    model, batch = copy.deepcopy(network(TinyCNN)).to(GPU), torch.rand(1, 3, 4096, 4096)
    explained(model, "gradcam", images(1))
    gc.collect()
    before = torch.cuda.memory_allocated()
    with little_memory(64), pytest.raises(torch.OutOfMemoryError):
        pellucid.explain(model, batch, "gradcam", 1)
    gc.collect()
    assert torch.cuda.memory_allocated() == before
    assert explained(model, "gradcam", images(1)).heatmaps.isfinite().all()


def test_an_explanation_is_written_and_read(tmp_path: Path) -> None:
    model = copy.deepcopy(network(TinyCNN)).to(GPU)
    found = explained(model, "gradcam", images(2))
    found.save(tmp_path / "one.npz")
    assert torch.equal(pellucid.load_explanation(tmp_path / "one.npz").heatmaps, found.heatmaps.cpu())
    pellucid.overlay(found, images(2).to(GPU))


def run(*arguments: str) -> str:
    found = CliRunner().invoke(app, list(arguments))
    assert found.exit_code == 0, found.output
    return found.output


@pytest.mark.parametrize("device", ["auto", "gpu", "cuda", "cuda:0"])
def test_explain_on_the_command_line(device: str, tmp_path: Path) -> None:
    drawn = phantom.radiographs(2, 128, seed=9).images
    from PIL import Image

    for number, one in enumerate(drawn):
        Image.fromarray((one[0] * 255).byte().numpy()).save(tmp_path / f"{number}.png")
    folders = {}
    for name in (device, "cpu"):
        folders[name] = tmp_path / f"out-{name.replace(':', '')}"
        options = [
            "--model",
            "pellucid.phantom:cnn",
            "--method",
            "hirescam",
            "--export",
            "npz",
            "--output",
            str(folders[name]),
        ]
        run("explain", str(tmp_path / "0.png"), str(tmp_path / "1.png"), *options, "--device", name)
    maps = [
        [pellucid.load_explanation(one).heatmaps for one in sorted(folder.rglob("*.npz"))]
        for folder in folders.values()
    ]
    assert maps[0]
    for one, other in zip(*maps, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-3)


def test_tune_and_doctor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    facts = json.loads(run("doctor", "--json"))
    assert torch.cuda.get_device_name(0) in json.dumps(facts)
    run("tune", "pellucid.phantom:cnn", "--method", "gradcam", "--device", "gpu")
