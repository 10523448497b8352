"""``python -m benchmarks.mosaic``: how often a map's peak lies on the right one of four objects in an image.

A mosaic combines four photographs, two by two, in each of their 24 orders. A network trained on single photographs is
explained for each of the four classes. A map that depends on the class has its peak in the cell of that class's
object; a map that does not is right a quarter of the time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache
from itertools import permutations
from pathlib import Path
from typing import Annotated

import skimage
import torch
import typer
from torch import Tensor, nn

import pellucid
from benchmarks import results
from pellucid import phantom
from pellucid.core import catalogue
from pellucid.core.method import Method
from pellucid.core.runtime import Runtime
from pellucid.methods.rise import RISE

NAME = "mosaic"
OBJECTS = {"chelsea.png": 285, "coffee.png": 967, "camera.png": 872, "motorcycle_left.png": 665}
"""Photographs in scikit-image, and their ImageNet classes: cat, espresso, tripod, moped."""
SIDE = 160
ORDERS = tuple(permutations(range(4)))
NEEDED = 0.95
FASTER = Runtime(precision="bfloat16", channels_last=True, batch_size=4)
REPEATING = 8
"""Passes per class from which on a method runs in half precision, which takes a third of the time."""
FEWER: Mapping[str, Method] = {"rise": RISE(masks=400)}


def network() -> nn.Module:
    """EfficientNet-Lite0 with the ImageNet weights from its package."""
    return pellucid.load_model(f"{Path(__file__).parents[1] / 'examples' / 'efficientnet_lite0.py'}:build")


def photographs(model: nn.Module) -> list[Tensor]:
    """The four objects, preprocessed, (3, 160, 160) each: in a mosaic each covers 5 × 5 cells of the last grid."""
    folder, preprocessing = Path(skimage.__file__).parent / "data", pellucid.model_info(model).preprocessing
    if preprocessing is None:
        raise RuntimeError("the network declares no preprocessing")
    small = replace(preprocessing, resize=(SIDE, SIDE))
    return [small(pellucid.read_image(folder / name)).values for name in OBJECTS]


def mosaic(parts: list[Tensor], order: tuple[int, ...]) -> Tensor:
    """The image (1, 3, 320, 320) whose cell i, in reading order, shows object order[i]."""
    one, two, three, four = (parts[index] for index in order)
    return torch.cat([torch.cat([one, two], dim=2), torch.cat([three, four], dim=2)], dim=1)[None]


def cell_of_peak(heat: Tensor) -> int:
    """The cell, 0 to 3 in reading order, in which a map (H, W) has its peak."""
    row, column = divmod(int(heat.flatten().argmax()), heat.shape[1])
    return 2 * int(row >= heat.shape[0] / 2) + int(column >= heat.shape[1] / 2)


def measured(model: nn.Module, method: str) -> list[int]:
    """The number of peaks in the right cell, and the number of maps."""
    parts, hits = photographs(model), 0
    runtime = FASTER if repeats(method) else Runtime()
    explainer = pellucid.Explainer(model, FEWER.get(method, method), runtime=runtime)
    for order in ORDERS:
        found = explainer(mosaic(parts, order), targets=torch.tensor([list(OBJECTS.values())]))
        right = [cell_of_peak(found.heatmaps[0, k]) == order.index(k) for k in range(4)]
        hits += sum(one and not gone for one, gone in zip(right, found.degenerate[0].tolist(), strict=True))
    return [hits, len(ORDERS) * len(OBJECTS)]


@cache
def repeats(method: str) -> bool:
    """Whether a method runs the whole network often, counted on a small network for one image and class."""
    model, passes = phantom.cnn(), 0

    def count(_module: nn.Module, given: tuple[Tensor, ...]) -> None:
        nonlocal passes
        passes += len(given[0])

    explainer = pellucid.Explainer(model, FEWER.get(method, method))
    explainer(torch.zeros(1, 1, 32, 32), targets=0)  # the first call profiles the network
    first = next(module for module in model.modules() if isinstance(module, nn.Conv2d))
    first.register_forward_pre_hook(count)
    explainer(torch.zeros(1, 1, 32, 32), targets=0)
    return passes >= REPEATING


def page(counts: results.Counts) -> str:
    """The table, and the methods that miss too often."""
    rows = [(f"`{name}`", str(hits), results.share(hits, count)) for name, (hits, count) in counts.items()]
    rows.sort(key=lambda row: -int(row[1]))
    missing = [f"`{name}`" for name, (hits, count) in sorted(counts.items()) if hits < NEEDED * count]
    verdict = f"Not suited to separating objects, by this measure: {', '.join(missing)}.\n" if missing else ""
    table = results.table(("method", "peaks in the right cell, of 96", "share (95 % interval)"), rows)
    return f"{table}\n{_settings(counts)}\n\n{verdict}"


def _settings(names: Iterable[str]) -> str:
    half = ", ".join(f"`{name}`" for name in sorted(names) if repeats(name))
    fewer = ", ".join(f"`{name}` with {method}" for name, method in FEWER.items())
    return f"Default settings, except {fewer}; in float32, except {half} in bfloat16."


def applying() -> list[str]:
    """The class-specific methods that apply to a network without attention."""
    made = {name: catalogue.find(name)() for name in pellucid.available_methods()}
    return [name for name, one in made.items() if one.class_specific and not one.uses_attention]


def main(
    method: Annotated[list[str] | None, typer.Option(help="Measure only this method; may be repeated.")] = None,
    again: Annotated[bool, typer.Option(help="Measure again what has been measured.")] = False,
) -> None:
    """Measure every class-specific method that has not been measured, and write docs/results/mosaic.md."""
    counts, model = results.read(NAME), network()
    for name in method or applying():
        if again or name not in counts:
            counts[name] = measured(model, name)
            results.keep(NAME, counts)
            typer.echo(f"{name}: {counts[name][0]} of {counts[name][1]}")
    results.write(NAME, page(counts))


if __name__ == "__main__":
    typer.run(main)
