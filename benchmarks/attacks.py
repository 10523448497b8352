"""``python -m benchmarks.attacks``: what attacks cost, as multiples of the passes that their definitions need.

A pass is a forward and a backward pass to the pixels, written in plain torch; of an attack on a map it is the map, the
slope of a function of it, and the map once more. Each call alternates with its passes, in one process.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import torch
import typer
from torch import Tensor, nn

import pellucid
from benchmarks import results
from benchmarks.measuring import memory_growth, ratio
from pellucid.attacks import APGDCE, APGDDLR, FGSM, PGD, PGDL2, Centre, HeldMap, TargetMap, TopK

NAME = "attacks"
IMAGES, SIDE, STEPS = 4, 224, 10
LIMIT = 1.3
AS_IT_IS = pellucid.Preprocessing()


@dataclass(frozen=True)
class Case:
    """An attack, and the plain passes that it needs."""

    call: str
    passes: str
    base: Callable[[nn.Module, Tensor], None]
    run: Callable[[nn.Module, Tensor], object]


def network() -> nn.Module:
    """ResNet-18 with random weights."""
    import torchvision

    torch.manual_seed(0)
    model: nn.Module = torchvision.models.resnet18(weights=None)
    return model.eval().requires_grad_(False)


def plain(count: int) -> Callable[[nn.Module, Tensor], None]:
    """The clean pass, ``count`` passes there and back, and the pass of the changed images."""

    def run(model: nn.Module, images: Tensor) -> None:
        labels = _predicted(model, images)
        for _ in range(count):
            leaf = images.clone().requires_grad_()
            torch.autograd.grad(nn.functional.cross_entropy(model(leaf), labels, reduction="sum"), leaf)
        _predicted(model, images)

    return run


MapOf = Callable[[nn.Module, Tensor, Tensor, bool], Tensor]
"""A map (B, H, W) of a network, images, and their classes; with its graph or without."""


def slopes(of: MapOf, count: int) -> Callable[[nn.Module, Tensor], None]:
    """A map and its own slope through softplus, and the map as it is, ``count`` times; maps at both ends."""

    def run(model: nn.Module, images: Tensor) -> None:
        labels = _predicted(model, images)
        soft = _softened(model)
        for _ in range(count):
            leaf = images.clone().requires_grad_()
            torch.autograd.grad(of(soft, leaf, labels, True).amax((1, 2)).sum(), leaf)
            of(model, images.clone().requires_grad_(), labels, False)
        for _ in range(3):  # the clean map, and those before and after
            of(model, images.clone().requires_grad_(), labels, False)
        _predicted(model, images)

    return run


def _predicted(model: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(images).argmax(1)
    return found


def _saliency(model: nn.Module, leaf: Tensor, labels: Tensor, graph: bool) -> Tensor:
    score = model(leaf).gather(1, labels[:, None]).sum()
    (found,) = torch.autograd.grad(score, leaf, create_graph=graph)
    return found.abs().amax(1)


def _cam(model: nn.Module, leaf: Tensor, labels: Tensor, graph: bool) -> Tensor:
    """Grad-CAM at the last stage, without its enlargement."""
    outputs: list[Tensor] = []
    with model.layer4.register_forward_hook(lambda _module, _given, output: outputs.append(output)):  # type: ignore[union-attr]  # a module
        score = model(leaf).gather(1, labels[:, None]).sum()
    (slope,) = torch.autograd.grad(score, outputs[0], create_graph=graph)
    return (slope.mean((2, 3), keepdim=True) * outputs[0]).sum(1).relu()


def _softened(model: nn.Module) -> nn.Module:
    """A copy with softplus for each ReLU."""
    import copy

    soft = copy.deepcopy(model)
    for parent in list(soft.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.ReLU):
                setattr(parent, name, nn.Softplus(beta=30, threshold=40))
    return soft


def _attacked(attack: pellucid.Attack, method: str | None = None) -> Callable[[nn.Module, Tensor], object]:
    return lambda model, images: pellucid.attack(model, images, attack, method=method, preprocessing=AS_IT_IS)


def _of_map(name: str, attack: pellucid.Attack, method: str, of: MapOf) -> Case:
    return Case(f"{name} on {method}, 5 steps", "5, with a map's slope", slopes(of, 5), _attacked(attack, method))


ON_MAPS: dict[str, pellucid.Attack] = {
    "top-k": TopK(0.0, 5),
    "centre": Centre(0.0, 5),
    "target map": TargetMap(0.0, 5),
    "held map": HeldMap(0.0, 5),
}
CASES = (
    Case("FGSM", "1", plain(1), _attacked(FGSM(0.0))),
    Case("PGD, 10 steps", "10", plain(STEPS), _attacked(PGD(0.0, STEPS))),
    Case("PGD in L2, 10 steps", "10", plain(STEPS), _attacked(PGDL2(0.0, STEPS))),
    Case("APGD-CE, 10 steps", "11", plain(STEPS + 1), _attacked(APGDCE(0.0, STEPS))),
    Case("APGD-DLR, 10 steps", "11", plain(STEPS + 1), _attacked(APGDDLR(0.0, STEPS))),
    *(_of_map(name, attack, "saliency", _saliency) for name, attack in ON_MAPS.items()),
    *(_of_map(name, attack, "gradcam", _cam) for name, attack in ON_MAPS.items()),
)


def growth(model: nn.Module, images: Tensor, steps: int) -> float:
    """By how many MiB the process grows during PGD of some steps."""
    return memory_growth(lambda: _attacked(PGD(0.01, steps))(model, images)) / 2**20


def main(pairs: Annotated[int, typer.Option(help="Alternating pairs.")] = 7) -> None:
    """Measure, and write docs/results/attacks.md."""
    model, images = network(), torch.rand(IMAGES, 3, SIDE, SIDE)
    rows = []
    for case in CASES:
        found = ratio(partial(case.base, model, images), partial(case.run, model, images), pairs)
        rows.append((case.call, case.passes, f"{LIMIT:g}", str(found)))
        typer.echo(" | ".join(rows[-1]))
    few, many = growth(model, images, 3), growth(model, images, 30)
    table = results.table(("attack", "passes", "at most", "time over that of the passes"), rows)
    memory = f"PGD grows the process by {few:.0f} MiB in 3 steps and {many:.0f} MiB in 30, after the runs above.\n"
    results.write(NAME, f"{table}\n{memory}")


if __name__ == "__main__":
    typer.run(main)
