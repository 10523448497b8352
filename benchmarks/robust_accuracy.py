"""``python -m benchmarks.robust_accuracy``: how many right answers no attack on predictions moves, by its budget.

All networks tell exclusive classes. PGD and APGD begin at the same places and take as many gradients. Each cell that
was measured is kept, so that an interrupted run continues where it stopped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from torch import Tensor, nn

import pellucid
from benchmarks import results
from benchmarks.map_attack_networks import scan_labels, scans, ultrasound
from pellucid import phantom
from pellucid.attacks import APGDCE, APGDDLR, FGSM, PGD, PGDL2
from pellucid.core.image import Image
from pellucid.phantom.training import normalised

NAME = "robust_accuracy"
IMAGES, IMAGES_FROM = 100, 13 * 10**6
"""Drawn radiographs of four classes, and their seed."""
GRADIENTS = 21
"""Of each attack but FGSM; APGD takes one more than it has steps."""
LINF: dict[str, Callable[[float], pellucid.Attack]] = {
    "FGSM": lambda epsilon: FGSM(epsilon),
    "PGD": lambda epsilon: PGD(epsilon, steps=GRADIENTS),
    "APGD-CE": lambda epsilon: APGDCE(epsilon, steps=GRADIENTS - 1),
    "APGD-DLR": lambda epsilon: APGDDLR(epsilon, steps=GRADIENTS - 1),
}
L2 = "PGD, L2"
"""Its budget is the length of a change of as many pixels by half as much: what noise in the box has, about."""
Counts = dict[str, list[int]]


@dataclass(frozen=True)
class Subject:
    """A network, its images and their classes, and the budgets in grey levels of 255."""

    network: Callable[[], nn.Module]
    images: Callable[[], tuple[Tensor | Sequence[Image], Sequence[int]]]
    budgets: Sequence[float]


def _drawn(side: int) -> Callable[[], tuple[Tensor, Sequence[int]]]:
    def draw() -> tuple[Tensor, Sequence[int]]:
        made = phantom.radiographs(IMAGES, side, IMAGES_FROM, exclusive=True)
        return normalised(made.images), made.classes.tolist()

    return draw


def subjects(busi: Path | None) -> dict[str, Subject]:
    """All of them; the ultrasound network only where its folder is given."""
    found = {
        "CNN, 64 px": Subject(phantom.exclusive_cnn_64, _drawn(64), (1, 2, 4)),
        "CNN, 128 px": Subject(phantom.exclusive_cnn, _drawn(128), (1, 2, 4)),
        "ViT, 128 px": Subject(phantom.exclusive_vit, _drawn(128), (1, 2, 4)),
    }
    if busi is not None:
        real = scans(busi), scan_labels(busi)
        found["EfficientNet, ultrasound"] = Subject(lambda: ultrasound(busi), lambda: real, (0.1, 0.2, 0.5, 1, 2))
    return found


def cells(subject: Subject, size: int) -> Iterator[tuple[str, float, pellucid.Attack]]:
    """Each attack at each budget: its name, the budget in grey levels, and the attack; ``size``: values of an image."""
    for budget in subject.budgets:
        for name, build in LINF.items():
            yield name, budget, build(budget / 255)
        yield L2, budget, PGDL2(budget / 255 * math.sqrt(size) / 2, steps=GRADIENTS)


def measure(name: str, subject: Subject, stored: Counts) -> None:
    """Count the answers that hold in each cell that was not measured."""
    network, (images, labels) = subject.network(), subject.images()
    size = images[0].numel() if isinstance(images, Tensor) else images[0].pixels.numel()
    for attack, budget, made in cells(subject, size):
        key = f"{name}/{budget:g}/{attack}"
        if key in stored:
            continue
        found = pellucid.attack(network, images, made, labels)
        right = found.clean_logits.argmax(1) == found.labels
        stored[key] = [int((right & ~found.moved).sum()), int(right.sum()), len(right)]
        results.keep(NAME, stored)
        typer.echo(f"{key}: {stored[key]}")


def page(stored: Counts) -> str:
    """A row a network and budget: how many answers are right, and hold."""
    attacks = (*LINF, L2)
    names = dict.fromkeys(tuple(key.split("/")[:2]) for key in stored)
    rows = []
    for name, budget in sorted(names, key=lambda one: (one[0], float(one[1]))):
        own = {attack: stored.get(f"{name}/{budget}/{attack}") for attack in attacks}
        known = next(counts for counts in own.values() if counts)
        held = (f"{counts[0] / counts[2]:.2f}" if counts else "" for counts in own.values())
        rows.append((name, budget, str(known[2]), f"{known[1] / known[2]:.2f}", *held))
    return results.table(("network", "ε · 255", "images", "accuracy", *attacks), rows)


def main(
    busi: Annotated[Path | None, typer.Option(help="The folder with the ultrasound images and network.")] = None,
) -> None:
    """Measure what is missing, and write docs/results/robust_accuracy.md."""
    stored: Counts = results.read(NAME)
    for name, subject in subjects(busi).items():
        measure(name, subject, stored)
    results.write(NAME, page(stored))


if __name__ == "__main__":
    typer.run(main)
