"""Measures how the cost of an explanation grows with images, classes, image size and network depth."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

import pellucid
from benchmarks import peers, results
from benchmarks.measuring import Ratio, forward, in_new_process, ratio

OURS = "pellucid"
PEER = "pytorch-grad-cam"
PAIRS = 3


@dataclass(frozen=True)
class Point:
    """One measurement: the library, the network, and the size of its input and targets."""

    by: str = OURS
    network: str = "resnet50"
    images: int = 8
    classes: int = 1
    side: int = 224


PANELS: dict[str, list[Point]] = {
    "images": [Point(images=count) for count in (1, 4, 16, 64)],
    "classes": [Point(classes=count) for count in (1, 10, 100)],
    "side": [Point(images=2, side=side) for side in (112, 224, 512, 1024)],
    "network": [Point(network=f"resnet{depth}") for depth in (18, 34, 50, 101, 152)],
}
"""What varies along the axis of each panel, and its points."""


def measured() -> Iterator[tuple[str, Point, Ratio]]:
    """Measure all points; other libraries only with one class, since they run a pass per class."""
    for panel, points in PANELS.items():
        for point in points:
            yield panel, point, in_new_process(cost, point)
            if panel != "classes" and PEER in peers.available():
                other = replace(point, by=PEER)
                yield panel, other, in_new_process(cost, other)


def cost(point: Point) -> Ratio:
    """The duration of an explanation over that of the forward pass."""
    import torchvision

    torch.manual_seed(0)
    model = torchvision.models.get_model(point.network, weights=None).eval()
    images = torch.randn(point.images, 3, point.side, point.side)
    if point.by == OURS:
        explainer = pellucid.Explainer(model, runtime=pellucid.Runtime(batch_size=point.images))
        targets = torch.arange(point.classes).expand(point.images, -1)
        return ratio(forward(model, images), lambda: explainer(images, targets), PAIRS)
    explain = peers.explainer(point.by, model, "layer4")
    return ratio(forward(model, images), lambda: explain(images), PAIRS)


def write(folder: Path) -> None:
    """Measure, and write growth.csv and growth.png."""
    rows = [{"along": panel} | asdict(point) | asdict(time) for panel, point, time in measured()]
    results.write_csv(folder / "growth.csv", rows)
    draw(folder)


def draw(folder: Path) -> None:
    """Draw growth.png from growth.csv."""
    from matplotlib.figure import Figure

    with (folder / "growth.csv").open() as file:
        rows = list(csv.DictReader(file))
    figure = Figure(figsize=(11, 3.2), layout="constrained")
    for panel, axes in zip(PANELS, figure.subplots(1, len(PANELS), sharey=True), strict=True):
        for by, marker in ((OURS, "o"), (PEER, "s")):
            own = [row for row in rows if (row["along"], row["by"]) == (panel, by)]
            if own:
                values = [row[panel].removeprefix("resnet") for row in own]
                axes.plot(values, [float(row["median"]) for row in own], marker=marker, label=by)
        axes.axhline(1, color="grey", linewidth=0.8)
        axes.set_xlabel("depth of a ResNet" if panel == "network" else panel)
        axes.set_ylim(bottom=0)
    figure.axes[0].set_ylabel("time of an explanation\nover a forward pass")
    figure.axes[0].legend(frameon=False)
    figure.savefig(folder / "growth.png", dpi=110)
