"""``python -m benchmarks.mosaic``: four real objects in one picture, and whether each class's peak is on its own.

A mosaic puts four photographs side by side, two by two, in each of their 24 orders; a network that was trained on
single photographs is asked for each of the four classes. A map that depends on the class has its peak in the cell
of that class's object; one that does not is right a quarter of the time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Annotated

import skimage
import torch
import typer
from torch import Tensor, nn

import pellucid
from benchmarks import results
from pellucid.core import catalogue
from pellucid.core.method import Method
from pellucid.core.runtime import Runtime
from pellucid.methods.rise import RISE

NAME = "mosaic"
OBJECTS = {"chelsea.png": 285, "coffee.png": 967, "camera.png": 872, "motorcycle_left.png": 665}
"""Photographs that scikit-image ships, and the ImageNet classes of what they show: cat, espresso, tripod, moped."""
SIDE = 160
ORDERS = tuple(permutations(range(4)))
NEEDED = 0.95
FASTER = Runtime(precision="bfloat16", channels_last=True, batch_size=4)
REPEATING = {"integrated_gradients", "occlusion", "rise", "scorecam", "smoothgrad", "smoothgrad_squared", "vargrad"}
"""Methods that run the network up to 1,280 times a mosaic: in half precision, which takes a third of the time."""
FEWER: Mapping[str, Method] = {"rise": RISE(masks=400)}


def network() -> nn.Module:
    """EfficientNet-Lite0 with the ImageNet weights that a package ships."""
    return pellucid.load_model(f"{Path(__file__).parents[1] / 'examples' / 'efficientnet_lite0.py'}:build")


def photographs(model: nn.Module) -> list[Tensor]:
    """The four objects as the network takes them, (3, 160, 160) each: a quarter of its last grid, of 10 × 10 cells."""
    folder, preprocessing = Path(skimage.__file__).parent / "data", pellucid.model_info(model).preprocessing
    if preprocessing is None:
        raise RuntimeError("the network does not say how its pictures are prepared")
    small = replace(preprocessing, resize=(SIDE, SIDE))
    return [small(pellucid.read_image(folder / name)).values for name in OBJECTS]


def mosaic(parts: list[Tensor], order: tuple[int, ...]) -> Tensor:
    """The picture (1, 3, 320, 320) whose cell i, in reading order, shows object order[i]."""
    one, two, three, four = (parts[index] for index in order)
    return torch.cat([torch.cat([one, two], dim=2), torch.cat([three, four], dim=2)], dim=1)[None]


def cell_of_peak(heat: Tensor) -> int:
    """In which of the four cells, in reading order, a map (H, W) has its peak."""
    row, column = divmod(int(heat.flatten().argmax()), heat.shape[1])
    return 2 * int(row >= heat.shape[0] / 2) + int(column >= heat.shape[1] / 2)


def measured(model: nn.Module, method: str) -> list[int]:
    """How many of the 96 peaks lie in the right cell, and 96."""
    parts, hits = photographs(model), 0
    runtime = FASTER if method in REPEATING else Runtime()
    explainer = pellucid.Explainer(model, FEWER.get(method, method), runtime=runtime)
    for order in ORDERS:
        found = explainer(mosaic(parts, order), targets=torch.tensor([list(OBJECTS.values())]))
        right = [cell_of_peak(found.heatmaps[0, k]) == order.index(k) for k in range(4)]
        hits += sum(one and not gone for one, gone in zip(right, found.degenerate[0].tolist(), strict=True))
    return [hits, len(ORDERS) * len(OBJECTS)]


def page(counts: results.Counts) -> str:
    """The table, and what it means for the methods that miss."""
    rows = [(f"`{name}`", str(hits), results.share(hits, count)) for name, (hits, count) in counts.items()]
    rows.sort(key=lambda row: -int(row[1]))
    missing = [f"`{name}`" for name, (hits, count) in sorted(counts.items()) if hits < NEEDED * count]
    verdict = f"Not made for telling objects apart, by this figure: {', '.join(missing)}.\n" if missing else ""
    table = results.table(("method", "peaks in the right cell, of 96", "share (95 % interval)"), rows)
    return f"{table}\n{_how()}\n\n{verdict}"


def _how() -> str:
    half = ", ".join(f"`{name}`" for name in sorted(REPEATING))
    fewer = ", ".join(f"`{name}` with {method}" for name, method in FEWER.items())
    return f"Methods at their default settings, but {fewer}; in float32, but {half} in bfloat16."


def main(
    method: Annotated[list[str] | None, typer.Option(help="Measure only this one; repeatable.")] = None,
    again: Annotated[bool, typer.Option(help="Measure also what is known.")] = False,
) -> None:
    """Measure every class-specific method that is not measured yet, and write docs/results/mosaic.md."""
    counts, model = results.read(NAME), network()
    asked = method or [name for name in pellucid.available_methods() if catalogue.find(name)().class_specific]
    for name in asked:
        if again or name not in counts:
            counts[name] = measured(model, name)
            results.keep(NAME, counts)
            typer.echo(f"{name}: {counts[name][0]} of {counts[name][1]}")
    results.write(NAME, page(counts))


if __name__ == "__main__":
    typer.run(main)
