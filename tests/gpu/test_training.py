"""A training on a GPU ends as it does without an explanation in it, bit for bit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid.training import ExplanationCallback, Monitor
from tests.networks import TinyCNN, seeded
from tests.training.fitting import Kept, Module, data, end_of, plan, seed_everything, trainer

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no `val_dataloader`"),
    pytest.mark.filterwarnings("ignore:.*treespec, LeafSpec.*"),
    pytest.mark.filterwarnings("ignore:.*Tensor Cores.*"),
]
GPU = "cuda"
METHODS = ["gradcam", "saliency", "smoothgrad", "rise", "integrated_gradients"]


@pytest.fixture(autouse=True)
def repeatable() -> Iterator[None]:
    """The same numbers in each run: some of cuDNN's sums have no fixed order."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def ends(monitor: Monitor | None, *, mixed: bool) -> tuple[object, Tensor]:
    """What a training by hand leaves, and the state of the GPU's random numbers."""
    seed_everything()
    torch.cuda.manual_seed(7)
    model: nn.Module = seeded(TinyCNN).to(GPU)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    scaler = torch.amp.GradScaler(GPU, enabled=mixed)
    if monitor is not None:
        monitor.begin(model)
    for epoch in range(2):
        for pixels, labels in data():
            optimizer.zero_grad()
            with torch.autocast(GPU, torch.float16, enabled=mixed):
                loss = F.cross_entropy(model(pixels.to(GPU)), labels.to(GPU))
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
        if monitor is not None:
            monitor(model, epoch)
    return end_of(model.cpu(), [optimizer], []), torch.cuda.get_rng_state()


@pytest.mark.parametrize("mixed", [False, True], ids=["float32", "mixed"])
@pytest.mark.parametrize("method", METHODS)
def test_a_training_by_hand(method: str, mixed: bool) -> None:
    plain, state = ends(None, mixed=mixed)
    kept = Kept()
    watched, other = ends(Monitor(plan(method=method), kept), mixed=mixed)
    assert plain.differences(watched) == []
    assert torch.equal(state, other)
    assert kept.metrics_


@pytest.mark.parametrize("precision", ["32-true", "16-mixed", "bf16-mixed"])
@pytest.mark.parametrize("method", ["gradcam", "integrated_gradients"])
def test_lightnings_trainer(method: str, precision: str, tmp_path: Path) -> None:
    found = []
    kept = Kept()
    for callbacks in ([], [ExplanationCallback(plan(method=method), tracker=kept)]):
        seed_everything()
        torch.cuda.manual_seed(7)
        module = Module()
        made = trainer(tmp_path, callbacks, accelerator="gpu", precision=precision)
        made.fit(module, data(), data(shuffle=False))
        found.append((end_of(module.cpu(), made.optimizers, module.seen), torch.cuda.get_rng_state()))
    (plain, state), (watched, other) = found
    assert plain.differences(watched) == []
    assert torch.equal(state, other)
    assert kept.metrics_


def test_the_comparison_sees_a_draw_of_the_gpus_random_numbers() -> None:
    plain = ends(None, mixed=False)[0]

    class Careless(Monitor):
        def __call__(self, model, epoch, step=None):
            torch.rand(1, device=GPU)

    assert "fc.weight" in plain.differences(ends(Careless(plan()), mixed=False)[0])
