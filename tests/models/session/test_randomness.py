"""A network draws the same numbers in every pass, and none of the process's own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import pellucid
from pellucid.core.runtime import Runtime
from tests.comparing import same
from tests.networks import TinyCNN, images, seeded


def test_every_pass_draws_the_same_numbers() -> None:
    class Random(TinyCNN):
        def forward(self, x: Tensor) -> Tensor:
            return self.fc(F.dropout(self.features(x).flatten(2).mean(-1), 0.5, training=True))

    model, batch = seeded(Random), images(1)
    first = pellucid.explain(model, batch)
    same(pellucid.explain(model, batch), first)
    same(pellucid.explain(model, batch, layers=first.layers), first)
    assert not torch.equal(pellucid.explain(model, batch, runtime=Runtime(seed=1)).logits, first.logits)


def test_the_random_state_is_kept_when_calls_on_different_models_overlap() -> None:
    class Slow(TinyCNN):
        def forward(self, x: Tensor) -> Tensor:
            time.sleep(0.002)
            return super().forward(x)

    models = [Slow() for _ in range(3)]
    state = torch.get_rng_state()
    work = [threading.Thread(target=lambda m=m: [pellucid.explain(m, images(1)) for _ in range(5)]) for m in models]
    for thread in work:
        thread.start()
    for thread in work:
        thread.join()
    assert torch.equal(torch.get_rng_state(), state)


class Draws(TinyCNN):
    """Draws numbers in one situation only."""

    def __init__(self, when: Callable[[Draws, Tensor], bool]) -> None:
        super().__init__()
        self.when, self.noisy = when, False

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.dropout(x, 0.5, training=self.when(self, x)))


@pytest.mark.parametrize("situation", ["several images", "switched on", "gradients"])
def test_a_network_that_draws_in_one_situation_only(situation: str) -> None:
    whens = {
        "several images": lambda _, x: len(x) > 1,
        "switched on": lambda net, _: net.noisy,
        "gradients": lambda _, x: torch.is_grad_enabled(),
    }
    model = seeded(Draws, whens[situation])
    pellucid.explain(model, images(1), method="saliency", targets=1)
    model.noisy = True
    state = torch.get_rng_state()
    one, other = (pellucid.explain(model, images(2), method="saliency", targets=1) for _ in range(2))
    assert torch.equal(one.attributions, other.attributions)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("own", ["generator", "seed"])
def test_a_seed_of_the_networks_own_counts(own: str) -> None:
    class Seeded(TinyCNN):
        def forward(self, x: Tensor) -> Tensor:
            if own == "generator":
                return super().forward(x + torch.randn(x.shape, generator=torch.Generator().manual_seed(7)))
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(7)
                return super().forward(x + torch.randn(x.shape))

    model = seeded(Seeded).eval()
    with torch.no_grad():
        expected = model(images(2))
    torch.testing.assert_close(pellucid.explain(model, images(2), targets=1).logits, expected)
