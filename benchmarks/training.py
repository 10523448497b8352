"""``python -m benchmarks.training``: what a monitored epoch costs, as multiples of the passes that its method needs.

The passes are those of the method on the fixed batch, written in plain torch. Each call alternates with its passes, in
one process; between two calls the weights are written into, as an optimizer does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import torch
import typer
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks import results
from benchmarks.measuring import finished, ratio, seconds
from pellucid.training import Monitor, MonitoringPlan
from pellucid.training.drawing import drawn

NAME = "training"
SIDE, STEPS = 224, 32
HEADER = ("method", "images", "passes there and back", "at most", "time over that of the passes", "drawing of a map")
LIMIT = 1.2


@dataclass(frozen=True)
class Case:
    """A method, and the plain passes that it needs."""

    method: str
    images: int
    passes: str
    base: Callable[[nn.Module, Tensor], None]


def network() -> nn.Module:
    """ResNet-18 with random weights, in training mode."""
    import torchvision

    torch.manual_seed(0)
    model: nn.Module = torchvision.models.resnet18(weights=None)
    return model.train()


def gradcam(model: nn.Module, images: Tensor) -> None:
    """One pass, and one back to the last layer."""
    kept: list[Tensor] = []

    def keep(_module: nn.Module, _given: object, output: Tensor) -> Tensor:
        kept.append(output.detach().requires_grad_())
        return kept[0]

    hook = model.get_submodule("layer4").register_forward_hook(keep)
    model.eval()
    logits: Tensor = model(images)
    hook.remove()
    model.train()
    (gradient,) = torch.autograd.grad(logits[:, 0].sum(), kept[0])
    maps = (gradient.mean((2, 3), keepdim=True) * kept[0]).sum(1, keepdim=True).relu()
    F.interpolate(maps, images.shape[2:], mode="bilinear")


def integrated_gradients(model: nn.Module, images: Tensor) -> None:
    """As many passes to the pixels and back as there are steps, and the scores at both ends of the path."""
    model.eval()
    with torch.no_grad():
        for end in (images, torch.zeros_like(images)):
            model(end)
    for step in range(STEPS):
        leaf = (images * (step + 0.5) / STEPS).requires_grad_()
        logits: Tensor = model(leaf)
        torch.autograd.grad(logits[:, 0].sum(), leaf)
    model.train()


CASES = (
    Case("gradcam", 8, "1", gradcam),
    Case("integrated_gradients", 2, f"{STEPS}, and 2 forward", integrated_gradients),
)


def monitored(monitor: Monitor, model: nn.Module) -> object:
    """Another epoch's weights, and the figures."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.0)
    return monitor(model, 0)


def measured(case: Case, pairs: int, device: str = "cpu") -> tuple[str, ...]:
    """A row of the table."""
    model, images = network().to(device), torch.rand(case.images, 3, SIDE, SIDE, device=device)
    masks = torch.zeros(case.images, SIDE, SIDE, dtype=torch.bool)
    masks[:, 60:160, 60:160] = True
    layers = ["layer4"] if case.method == "gradcam" else None
    plan = MonitoringPlan(images, [0] * case.images, method=case.method, layers=layers, masks=masks)
    monitor = Monitor(plan)
    explanation = monitor.begin(model).explanation
    base, epoch = partial(case.base, model, images), partial(monitored, monitor, model)
    found = ratio(finished(base, device), finished(epoch, device), pairs)
    drawing = 0.0 if explanation is None else seconds(lambda: list(drawn(explanation, images.cpu(), case.images)))
    each = f"{1000 * drawing / case.images:.0f} ms"
    return case.method, str(case.images), case.passes, f"{LIMIT:g}", str(found), each


def main(pairs: Annotated[int, typer.Option(help="Alternating pairs.")] = 7) -> None:
    """Measure, and write docs/results/training.md."""
    torch.set_num_threads(1)
    rows = []
    for case in CASES:
        rows.append(measured(case, pairs))
        typer.echo(" | ".join(rows[-1]))
    results.write(NAME, results.table(HEADER, rows))


if __name__ == "__main__":
    typer.run(main)
