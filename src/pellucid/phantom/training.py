"""``python -m pellucid.phantom.training``: trains the networks of this package on drawn radiographs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
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
from pellucid.phantom.models import GRID, SIDE, Classifier, untrained

TRAINING_SEED, VALIDATION_SEED = 10**12, 10**6
"""The first seeds of the training and of the validation images: far from those that a user would choose."""
_SEEDS = 10**6
_CHUNK = 250
_SHIFT = 4


@dataclass(frozen=True)
class Recipe:
    """The training settings of a network; ``guidance`` is the weight of the loss on the findings' positions."""

    steps: int
    rate: float
    decay: float = 1e-2
    guidance: float = 2.0
    batch: int = 32
    pool: int = 12000

    def changed(self, **values: float | None) -> Recipe:
        """Return a copy with the values that are not None."""
        return replace(self, **{name: value for name, value in values.items() if value is not None})  # type: ignore[arg-type]


RECIPES = {
    "cnn": Recipe(steps=600, rate=3e-3),
    "vit": Recipe(steps=5000, rate=2e-3, pool=20_000),
    "swin": Recipe(steps=6000, rate=2e-3, pool=20_000),
}


@dataclass(frozen=True, eq=False)
class Pool:
    """Training images (N, 1, H, W) uint8, their labels (N, 3), and the cells (N, 3, 16, 16) that findings touch."""

    images: Tensor
    labels: Tensor
    cells: Tensor


@dataclass(frozen=True)
class Figures:
    """A model's AUC and accuracy (at a probability of 0.5) per finding, on ``count`` new images."""

    count: int
    auc: tuple[float, ...]
    accuracy: tuple[float, ...]


def draw_pool(count: int, seed: int, progress: Callable[[int], None] = lambda _: None) -> Pool:
    """Draw the training images, without markers."""
    parts = []
    for first in range(0, count, _CHUNK):
        # One seed per chunk, so that only one chunk is held as float32 with its masks.
        drawn = radiographs(min(_CHUNK, count - first), SIDE, TRAINING_SEED + _SEEDS * seed + first // _CHUNK)
        parts.append(Pool((drawn.images * 255).round().to(torch.uint8), drawn.labels.float(), _cells(drawn)))
        progress(len(drawn))
    images, labels, cells = (torch.cat([getattr(p, name) for p in parts]) for name in ("images", "labels", "cells"))
    return Pool(images, labels, cells)


def _cells(drawn: Phantoms) -> Tensor:
    return F.adaptive_max_pool2d(drawn.masks.float(), GRID)


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
        weight = torch.tensor(5.0)
        return F.binary_cross_entropy_with_logits(by_cell * self.factor + self.shift, cells, pos_weight=weight)


def train(
    name: str, recipe: Recipe, pool: Pool, seed: int = 0, progress: Callable[[int, float], None] = lambda *_: None
) -> Classifier:
    """Train a network with AdamW and a one-cycle learning rate; ``progress`` receives each step and its loss."""
    model, guide = untrained(name).train(), Guide()
    parameters = [*model.parameters(), *guide.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=recipe.rate, weight_decay=recipe.decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.rate, total_steps=recipe.steps, pct_start=0.15)
    source = torch.Generator().manual_seed(seed)
    for step, (images, labels, cells) in enumerate(_batches(pool, recipe, source)):
        logits, by_cell = model.located(normalised(images))
        loss = F.binary_cross_entropy_with_logits(logits, labels) + recipe.guidance * guide(by_cell, cells)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        schedule.step()
        progress(step, float(loss.detach()))
    return model.eval()


def normalised(images: Tensor) -> Tensor:
    """Return images in [0, 1] normalised for the networks."""
    return from_mapping(Classifier.preprocessing, "pellucid.phantom").normalise(images)


def _batches(pool: Pool, recipe: Recipe, source: torch.Generator) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Shuffled batches of the pool, half of them mirrored, all shifted by up to 4 pixels."""
    order = torch.empty(0, dtype=torch.int64)
    for _ in range(recipe.steps):
        while len(order) < recipe.batch:
            order = torch.cat([order, torch.randperm(len(pool.labels), generator=source)])
        chosen, order = order[: recipe.batch], order[recipe.batch :]
        images, labels, cells = pool.images[chosen].float() / 255, pool.labels[chosen], pool.cells[chosen]
        if torch.rand((), generator=source) < 0.5:
            images, cells = images.flip(-1), cells.flip(-1)
        down, across = torch.randint(2 * _SHIFT + 1, (2,), generator=source).tolist()
        padded = F.pad(images, (_SHIFT,) * 4, mode="replicate")
        # A cell is 8 pixels wide, so the cells are not shifted.
        yield padded[..., down : down + SIDE, across : across + SIDE], labels, cells


def measure(model: nn.Module, phantoms: Phantoms) -> Figures:
    """Measure a model on drawn images."""
    with torch.no_grad():
        logits = torch.cat([model(normalised(images)) for images in torch.split(phantoms.images, _CHUNK)])
    right = ((logits > 0) == phantoms.labels).float().mean(0)
    areas = [auc(scores, labels) for scores, labels in zip(logits.T, phantoms.labels.T, strict=True)]
    return Figures(len(phantoms), tuple(areas), tuple(right.tolist()))


def auc(scores: Tensor, labels: Tensor) -> float:
    """Return the area under the ROC curve: how often an image with the finding scores higher than one without."""
    positive, negative = scores[labels], scores[~labels]
    differences = positive[:, None] - negative[None]
    return float(((differences > 0).double() + 0.5 * (differences == 0).double()).mean())


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    name: Annotated[str, typer.Argument(metavar="|".join(RECIPES), help="The network to train.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder for NAME.safetensors.")],
    steps: Annotated[int | None, typer.Option(min=3, help="Number of optimiser steps.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the images and of their order.")] = 0,
    batch: Annotated[int | None, typer.Option(min=2, help="Batch size.")] = None,
    pool: Annotated[int | None, typer.Option(min=2, help="Number of training images.")] = None,
    guidance: Annotated[
        float | None, typer.Option(min=0, help="Weight of the loss on the findings' positions.")
    ] = None,
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
    model = _trained(name, recipe, seed, console)
    output.mkdir(parents=True, exist_ok=True)
    save_file(model.network.state_dict(), output / f"{name}.safetensors")
    figures = measure(model, radiographs(fresh, SIDE, seed + VALIDATION_SEED))
    for finding, area, right in zip(FINDINGS, figures.auc, figures.accuracy, strict=True):
        console.print(f"{finding}: AUC {area:.3f}, accuracy {right:.3f} on {figures.count} new images")


def _recipe(name: str) -> Recipe:
    if name not in RECIPES:
        raise OptionError(f"network {name!r} was asked for; there are {', '.join(RECIPES)}")
    return RECIPES[name]


def _trained(name: str, recipe: Recipe, seed: int, console: Console) -> Classifier:
    with Progress(console=console) as bar:
        drawing = bar.add_task("drawing", total=recipe.pool)
        pool = draw_pool(recipe.pool, seed, lambda count: bar.advance(drawing, count))
        learning = bar.add_task("training", total=recipe.steps)

        def show(step: int, loss: float) -> None:
            bar.update(learning, completed=step + 1)
            if step % 50 == 49:
                console.print(f"step {step + 1}: loss {loss:.4f}")

        return train(name, recipe, pool, seed, show)


if __name__ == "__main__":
    app()
