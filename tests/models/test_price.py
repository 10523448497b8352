"""The price of a prediction, in memory: counted in the tensors that are alive, not in seconds."""

from __future__ import annotations

import threading

import torch
from torch import Tensor, nn
from torchvision.models import resnet50

import pellucid
from tests.memory import peak
from tests.networks import TinyCNN, images, seeded


def test_peak_memory_is_that_of_the_plain_forward() -> None:
    model, batch = resnet50().eval(), images(16, side=64)
    # Both before and after: what only the first call pays (finding the layer) is not this test's matter.
    pellucid.explain(model, batch)
    with torch.no_grad():
        plain = peak(lambda: model(batch))
    explained = peak(lambda: pellucid.explain(model, batch))
    assert plain > 16 * 64 * 32 * 32 * 4, "the first convolution's output alone"
    assert explained <= 1.25 * plain


def test_four_threads_on_one_model_in_train_mode_get_the_same() -> None:
    model, batch = seeded(TinyCNN).train(), images(2)
    expected = pellucid.explain(model, batch, targets="all")
    found: list[pellucid.Explanation] = []

    def work() -> None:
        found.extend(pellucid.explain(model, batch, targets="all") for _ in range(20))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 80
    for explanation in found:
        assert torch.equal(explanation.heatmaps, expected.heatmaps)
        assert torch.equal(explanation.logits, expected.logits)
    assert all(module.training for module in model.modules())
    assert not any(module._forward_hooks for module in model.modules())


def test_threads_on_different_models_do_not_wait_for_each_other() -> None:
    class Meeting(nn.Module):
        """Goes on only when the other model runs at the same time."""

        def __init__(self, barrier: threading.Barrier) -> None:
            super().__init__()
            self.inner = seeded(TinyCNN)
            self.barrier = barrier

        def forward(self, x: Tensor) -> Tensor:
            self.barrier.wait(timeout=60)
            return self.inner(x)

    barrier = threading.Barrier(2)
    errors: list[BaseException] = []

    def work() -> None:
        try:
            pellucid.explain(Meeting(barrier), images(1), layers=["inner.features"])
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
