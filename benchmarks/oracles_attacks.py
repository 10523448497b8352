"""Attacks on predictions beside foolbox's, on drawn radiographs: the pixels, and the share of answers that stay."""

from __future__ import annotations

from collections.abc import Iterator

import foolbox
from torch import Tensor, nn

import pellucid
from benchmarks.oracles import CASES, Compared
from pellucid import phantom
from pellucid.attacks import FGSM, PGD, PGDL2
from pellucid.core.attack import Attack

EPSILON, LENGTH, STEPS = 2 / 255, 0.15, 10
SEED = 4 * 10**6


class _OnPixels(nn.Module):
    """The network on pixels in [0, 1], since foolbox takes no normalisation of 64-bit pixels."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.known = network, pellucid.model_info(network).preprocessing

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = self.network(pixels if self.known is None else self.known.normalise(pixels))
        return logits


def rows() -> Iterator[Compared]:
    """FGSM and PGD in both norms, with the same steps and without a random start."""
    model = _OnPixels(phantom.exclusive_cnn_64()).eval().double()
    drawn = phantom.radiographs(CASES, 64, SEED, exclusive=True)
    pixels, labels = drawn.images.double(), drawn.classes
    theirs = foolbox.attacks
    pairs: list[tuple[Attack, object, float]] = [
        (FGSM(EPSILON), theirs.LinfFastGradientAttack(), EPSILON),
        (
            PGD(EPSILON, STEPS, EPSILON / 4, random_start=False),
            theirs.LinfPGD(abs_stepsize=EPSILON / 4, steps=STEPS, random_start=False),
            EPSILON,
        ),
        (
            PGDL2(LENGTH, STEPS, LENGTH / 4, random_start=False),
            theirs.L2PGD(abs_stepsize=LENGTH / 4, steps=STEPS, random_start=False),
            LENGTH,
        ),
    ]
    for own, other, epsilon in pairs:
        yield from _compared(model, pixels, labels, own, other, epsilon)


def _compared(
    model: nn.Module, pixels: Tensor, labels: Tensor, own: Attack, other: object, epsilon: float
) -> Iterator[Compared]:
    found = pellucid.attack(model, pixels, own, labels, preprocessing=pellucid.Preprocessing())
    wrapped = foolbox.PyTorchModel(model, bounds=(0, 1))
    _, images, moved = other(wrapped, pixels, labels, epsilons=epsilon)  # type: ignore[operator]  # foolbox has no types
    robust, theirs = (1 - float(one.double().mean()) for one in (found.moved, moved))
    where = "equal" if robust == theirs else f"ours {robust:.3f}, foolbox's {theirs:.3f}"
    yield Compared(f"{own.name}, pixels", "foolbox", len(labels), float((found.pixels - images).abs().max()))
    yield Compared(
        f"{own.name}, accuracy under attack", "foolbox", len(labels), abs(robust - theirs), f"{where}: {robust:.2f}"
    )
