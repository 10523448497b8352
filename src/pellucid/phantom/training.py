"""``python -m pellucid.phantom.training``: trains the networks of this package on drawn radiographs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.progress import Progress
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid.errors import OptionError
from pellucid.models.sources.file import from_mapping
from pellucid.phantom.drawing import Phantoms, radiographs
from pellucid.phantom.lesions import FINDINGS
from pellucid.phantom.models import CELL, SIDE, STATISTICS, Classifier, untrained
from pellucid.phantom.scene import CLASSES

TRAINING_SEED, VALIDATION_SEED = 10**12, 10**6
"""The first seeds of the training and of the validation images: far from those that a user would choose."""
_SEEDS = 10**6
_CHUNK = 250
_SHIFT = 4


@dataclass(frozen=True)
class Recipe:
    """The training settings of a network; ``guidance`` is the weight of the loss on the findings' positions.

    ``side`` and ``exclusive``: the images that it learns from.
    """

    steps: int
    rate: float
    decay: float = 1e-2
    guidance: float = 0.0
    batch: int = 32
    pool: int = 12000
    side: int = SIDE
    exclusive: bool = False

    def changed(self, **values: float | None) -> Recipe:
        """Return a copy with the values that are not None."""
        return replace(self, **{name: value for name, value in values.items() if value is not None})  # type: ignore[arg-type]


RECIPES = {
    "cnn": Recipe(steps=600, rate=3e-3, guidance=2.0),
    "vit": Recipe(steps=5000, rate=2e-3, guidance=2.0, pool=20_000),
    "swin": Recipe(steps=6000, rate=2e-3, guidance=2.0, pool=20_000),
    "unguided_cnn": Recipe(steps=4000, rate=3e-3, batch=128, pool=50_000),
    "unguided_vit": Recipe(steps=5000, rate=1e-3, batch=256, pool=100_000),
    "unguided_swin": Recipe(steps=5000, rate=2e-3, batch=128, pool=100_000),
    "exclusive_cnn": Recipe(steps=4000, rate=3e-3, batch=128, pool=50_000, exclusive=True),
    "exclusive_vit": Recipe(steps=5000, rate=1e-3, batch=256, pool=100_000, exclusive=True),
    "exclusive_cnn_64": Recipe(steps=4000, rate=3e-3, batch=128, pool=50_000, side=64, exclusive=True),
}


@dataclass(frozen=True, eq=False)
class Pool:
    """Training images (N, 1, H, W) uint8, their labels (N, 3), and the cells (N, 3, cells, cells) that findings touch.

    Of an exclusive set the labels are (N,), the class of each image.
    """

    images: Tensor
    labels: Tensor
    cells: Tensor

    def to(self, device: str) -> Pool:
        """The same pool on a device."""
        return Pool(self.images.to(device), self.labels.to(device), self.cells.to(device))


@dataclass(frozen=True)
class Figures:
    """A model's AUC and accuracy per finding, on ``count`` new images.

    A finding counts as found at a probability of 0.5. Of a network for one class of four they are those of each class
    against the rest, by its probability, and it counts as found where it is the most probable.
    """

    count: int
    auc: tuple[float, ...]
    accuracy: tuple[float, ...]


def draw_pool(recipe: Recipe, seed: int, workers: int = 0, progress: Callable[[int], None] = lambda _: None) -> Pool:
    """Draw the training images of a recipe, without markers, in this process or in ``workers`` others."""
    # One seed per chunk, so that only one chunk is held as float32 with its masks.
    counts = [min(_CHUNK, recipe.pool - first) for first in range(0, recipe.pool, _CHUNK)]
    seeds = [TRAINING_SEED + _SEEDS * seed + number for number in range(len(counts))]
    draw = partial(_draw, recipe.side, recipe.exclusive)
    parts = []
    with ProcessPoolExecutor(workers, get_context("spawn")) if workers else nullcontext() as pool:
        for part in (pool.map if pool else map)(draw, counts, seeds):
            parts.append(part)
            progress(len(part.labels))
    images, labels, cells = (torch.cat([getattr(p, name) for p in parts]) for name in ("images", "labels", "cells"))
    return Pool(images, labels, cells)


def _draw(side: int, exclusive: bool, count: int, seed: int) -> Pool:
    torch.set_num_threads(1)
    drawn = radiographs(count, side, seed, exclusive=exclusive)
    labels = drawn.classes if exclusive else drawn.labels.float()
    return Pool((drawn.images * 255).round().to(torch.uint8), labels, _cells(drawn, side))


def _cells(drawn: Phantoms, side: int) -> Tensor:
    return F.adaptive_max_pool2d(drawn.masks.float(), side // CELL).bool()


class Guide(nn.Module):
    """The loss on the findings' positions: the classifier's logits per cell, against the cells that findings touch.

    It trains a network to detect a finding at its position, not beside it or by correlated features. A mean over all
    cells needs stronger evidence in one of them than a cell alone. A learnt factor and shift per finding, discarded
    after training, account for that.
    """

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.full((len(FINDINGS), 1, 1), 0.25))
        self.shift = nn.Parameter(torch.full((len(FINDINGS), 1, 1), -2.0))

    def forward(self, by_cell: Tensor, cells: Tensor) -> Tensor:
        """Return the loss for logits per cell (B, 3, 16, 16)."""
        # Few cells are touched, so each has a weight of five.
        weight = cells.new_tensor(5.0)
        return F.binary_cross_entropy_with_logits(by_cell * self.factor + self.shift, cells, pos_weight=weight)


def train(  # what is trained, on what, how, and where
    name: str,
    recipe: Recipe,
    pool: Pool,
    seed: int = 0,
    device: str = "cpu",
    progress: Callable[[int, Tensor], None] = lambda *_: None,
) -> Classifier:
    """Train a network with AdamW and a one-cycle learning rate; ``progress`` receives each step and its loss.

    ``seed``: of the weights that it starts from, and of the order of the images.
    """
    model, guide = untrained(name, seed).train().to(device), Guide().to(device)
    guided = recipe.guidance > 0
    parameters = [*model.parameters(), *(guide.parameters() if guided else ())]
    optimiser = torch.optim.AdamW(parameters, lr=recipe.rate, weight_decay=recipe.decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.rate, total_steps=recipe.steps, pct_start=0.15)
    source = torch.Generator().manual_seed(seed)
    for step, (images, labels, cells) in enumerate(_batches(pool.to(device), recipe, source)):
        if guided:
            logits, by_cell = model.located(normalised(images))
            loss = _label_loss(logits, labels) + recipe.guidance * guide(by_cell, cells)
        else:  # no mask is looked at
            loss = _label_loss(model(normalised(images)), labels)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        schedule.step()
        progress(step, loss.detach())
    return model.eval().cpu()


def _label_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy with the class of each image, or for each finding."""
    return F.cross_entropy(logits, labels) if labels.ndim == 1 else F.binary_cross_entropy_with_logits(logits, labels)


def normalised(images: Tensor) -> Tensor:
    """Return images in [0, 1] normalised for the networks."""
    return from_mapping(STATISTICS, "pellucid.phantom").normalise(images)


def _batches(pool: Pool, recipe: Recipe, source: torch.Generator) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Shuffled batches of the pool, half of them mirrored, all shifted by up to 4 pixels."""
    order = torch.empty(0, dtype=torch.int64)
    for _ in range(recipe.steps):
        while len(order) < recipe.batch:
            order = torch.cat([order, torch.randperm(len(pool.labels), generator=source)])
        chosen, order = order[: recipe.batch].to(pool.images.device), order[recipe.batch :]
        images, labels, cells = pool.images[chosen].float() / 255, pool.labels[chosen], pool.cells[chosen].float()
        if torch.rand((), generator=source) < 0.5:
            images, cells = images.flip(-1), cells.flip(-1)
        down, across = torch.randint(2 * _SHIFT + 1, (2,), generator=source).tolist()
        padded = F.pad(images, (_SHIFT,) * 4, mode="replicate")
        # A cell is 8 pixels wide, so the cells are not shifted.
        yield padded[..., down : down + recipe.side, across : across + recipe.side], labels, cells


def measure(model: nn.Module, phantoms: Phantoms) -> Figures:
    """Measure a model on drawn images."""
    with torch.no_grad():
        logits = torch.cat([model(normalised(images)) for images in torch.split(phantoms.images, _CHUNK)])
    labels, scores, found = phantoms.labels, logits, logits > 0
    if logits.shape[1] == len(CLASSES):
        numbers = torch.arange(len(CLASSES))
        labels, scores = phantoms.classes[:, None] == numbers, logits.softmax(1)
        found = logits.argmax(1)[:, None] == numbers
    right = (found == labels).float().mean(0)
    areas = [auc(one, present) for one, present in zip(scores.T, labels.T, strict=True)]
    return Figures(len(phantoms), tuple(areas), tuple(right.tolist()))


def auc(scores: Tensor, labels: Tensor) -> float:
    """Return the area under the ROC curve: how often an image with the finding scores higher than one without."""
    positive, negative = scores[labels], scores[~labels]
    differences = positive[:, None] - negative[None]
    return float(((differences > 0).double() + 0.5 * (differences == 0).double()).mean())


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(  # noqa: PLR0913  # the options of the command
    name: Annotated[str, typer.Argument(metavar="|".join(RECIPES), help="The network to train.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder for NAME.safetensors.")],
    steps: Annotated[int | None, typer.Option(min=3, help="Number of optimiser steps.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the first weights, the images and their order.")] = 0,
    batch: Annotated[int | None, typer.Option(min=2, help="Batch size.")] = None,
    pool: Annotated[int | None, typer.Option(min=2, help="Number of training images.")] = None,
    guidance: Annotated[
        float | None, typer.Option(min=0, help="Weight of the loss on the findings' positions.")
    ] = None,
    device: Annotated[str, typer.Option(help="Device to train on, such as cuda.")] = "cpu",
    workers: Annotated[int, typer.Option(min=0, help="Processes that draw images; 0: this one.")] = 0,
    fresh: Annotated[int, typer.Option(min=10, help="Number of new images for the evaluation.")] = 1000,
) -> None:
    """Train a network on drawn radiographs, evaluate it on new ones, and write its weights.

    Options that are omitted come from the network's recipe.
    """
    try:
        recipe = _recipe(name).changed(steps=steps, batch=batch, pool=pool, guidance=guidance)
    except OptionError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(error.exit_code) from None
    console = Console()
    model = _trained(name, recipe, seed, device, workers, console)
    output.mkdir(parents=True, exist_ok=True)
    save_file(model.network.state_dict(), output / f"{name}.safetensors")
    drawn = radiographs(fresh, recipe.side, seed + VALIDATION_SEED, exclusive=recipe.exclusive)
    figures = measure(model, drawn)
    for finding, area, right in zip(model.classes, figures.auc, figures.accuracy, strict=True):
        console.print(f"{finding}: AUC {area:.3f}, accuracy {right:.3f} on {figures.count} new images")


def _recipe(name: str) -> Recipe:
    if name not in RECIPES:
        raise OptionError(f"network {name!r} was asked for; there are {', '.join(RECIPES)}")
    return RECIPES[name]


def _trained(name: str, recipe: Recipe, seed: int, device: str, workers: int, console: Console) -> Classifier:
    with Progress(console=console) as bar:
        drawing = bar.add_task("drawing", total=recipe.pool)
        pool = draw_pool(recipe, seed, workers, lambda count: bar.advance(drawing, count))
        learning = bar.add_task("training", total=recipe.steps)

        def show(step: int, loss: Tensor) -> None:
            bar.update(learning, completed=step + 1)
            if step % 50 == 49:
                console.print(f"step {step + 1}: loss {float(loss):.4f}")

        return train(name, recipe, pool, seed, device, show)


if __name__ == "__main__":
    app()
