"""A network draws the same numbers in every pass, and none of the process's own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

import pellucid
from pellucid.core.runtime import Runtime
from pellucid.errors import GradientError
from pellucid.models.session.randomness import OwnRandomness, ProcessRandomness
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


def seeds(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_numbers_are_drawn_from_a_generator_of_its_own_with_the_seed() -> None:
    state = torch.get_rng_state()
    with OwnRandomness(5) as mode:
        one, other, like = torch.randn(4), torch.rand(3), torch.rand_like(torch.empty(2))
        torch.ones(2).add(1)
    own = seeds(5)
    assert torch.equal(one, torch.randn(4, generator=own))
    assert torch.equal(other, torch.rand(3, generator=own))
    assert torch.equal(like, torch.empty(2).uniform_(generator=own))
    assert mode.count == 3
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    "dropout", [F.dropout, lambda x, p: torch.native_dropout(x, p, True)[0]], ids=["plain", "native"]
)
def test_dropout_keeps_as_many_as_it_should_and_the_same_every_time(dropout: Callable[..., Tensor]) -> None:
    found = []
    for _ in range(2):
        with OwnRandomness(0) as mode:
            found.append(dropout(torch.ones(4000), 0.25))
    assert torch.equal(*found)
    assert set(found[0].tolist()) == {0.0, torch.tensor(1 / 0.75).item()}
    assert abs(found[0].mean().item() - 1) < 0.05
    assert mode.count == 1


def test_what_draws_nothing_does_not_count() -> None:
    q = torch.randn(1, 2, 5, 4, generator=seeds(0))
    with OwnRandomness(0) as mode:
        F.dropout(q, 0.5, training=False)
        F.scaled_dot_product_attention(q, q, q)
        drawn = torch.randn(3, generator=seeds(3))
    assert torch.equal(drawn, torch.randn(3, generator=seeds(3))), "the network's own generator"
    assert mode.count == 0


def test_another_thread_draws_from_the_processs() -> None:
    drawn: list[Tensor] = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        with OwnRandomness(0):
            torch.randn(3)
            thread = threading.Thread(target=lambda: drawn.append(torch.randn(3)))
            thread.start()
            thread.join()
    assert torch.equal(drawn[0], torch.randn(3, generator=seeds(11)))


def test_what_is_drawn_under_a_checkpoint_is_refused() -> None:
    x = torch.ones(4, requires_grad=True)
    with OwnRandomness(0), pytest.raises(GradientError, match="turn gradient checkpointing off"):
        checkpoint(lambda x: F.dropout(x, 0.5), x, use_reentrant=False)


def test_the_processs_generators_are_seeded_and_put_back() -> None:
    state = torch.get_rng_state()
    with ProcessRandomness(5) as drawing:
        found = torch.randn(4)
    assert torch.equal(found, torch.randn(4, generator=seeds(5)))
    assert drawing.count == 1
    with ProcessRandomness(5) as still:
        torch.ones(4)
    assert still.count == 0
    assert torch.equal(torch.get_rng_state(), state)
