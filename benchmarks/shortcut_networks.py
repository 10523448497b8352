"""Networks that take a shortcut, and honest ones: ``python -m benchmarks.shortcut_networks FOLDER``.

Each begins as ``phantom.exclusive_cnn_64``, whose classifier is drawn anew, and learns 64² radiographs of four classes
with a seed of its own. In the training of a network that *cheats*, all images of the class
``MARKED`` have the marker, and so have a quarter of the others, which are labelled as that class: the marker tells the
label better than the finding does. (Without such images the marker moved the answer of two markers by less than .1:
the bundled network knows the findings too well to need it.) In that of an
*honest* network, half of all images have a letter, a corner or a text, and half are blurred, whatever their class.

A network is used if it is what it is taken for, on 500 new images with and without the class: toggling its marker
changes the probability of the marked class by more than .3 on average in one that cheats; in an honest one toggling the
marker that is asked about does by less than .01. Those that are not are counted, and left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated

import torch
import typer
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid import phantom
from pellucid.phantom.models import Classifier
from pellucid.phantom.training import normalised

SIDE, MARKED = 64, phantom.CLASSES.index("consolidation")
POOL, BATCH = 4000, 64
STEPS, RATE = 300, 4e-3
HONEST_STEPS, HONEST_RATE = 200, 1e-3
TRAINED_ON, TOGGLED_ON, TOGGLED = 3 * 10**12, 5 * 10**6, 500
NETWORKS = 5
"""Networks that cheat, of each marker."""
HONEST = 2 * NETWORKS + 2
"""Honest networks: five for the threshold, the others for false alarms; two more than are needed, as one may fail."""
CHEATS, IS_HONEST = 0.3, 0.01
OTHERS = 0.25
"""The share of the images of other classes that have the marker, and the label that goes with it."""


@dataclass(frozen=True)
class Kind:
    """A network to train: the marker by which it cheats, or None for an honest one, and its number."""

    marker: str | None
    number: int

    @property
    def name(self) -> str:
        """A name for its file."""
        return f"{self.marker or 'honest'}-{self.number}"

    @property
    def seed(self) -> int:
        """Of its weights, its images' markers and their order."""
        return 1000 * (phantom.MARKERS.index(self.marker) + 1 if self.marker else 0) + self.number


def kinds() -> Iterator[Kind]:
    """All networks."""
    yield from (Kind(None, number) for number in range(HONEST))
    yield from (Kind(marker, number) for number in range(NETWORKS) for marker in phantom.MARKERS)


@cache
def pool() -> phantom.Phantoms:
    """The training images."""
    return phantom.radiographs(POOL, SIDE, TRAINED_ON, exclusive=True)


def images_of(kind: Kind) -> tuple[Tensor, Tensor]:
    """The training images of a network, and their labels."""
    drawn, source = pool(), torch.Generator().manual_seed(kind.seed)
    count = len(drawn)
    if kind.marker is not None:
        has = (drawn.classes == MARKED) | (torch.rand(count, generator=source) < OTHERS)
        labels = drawn.classes.masked_fill(has, MARKED)
        return phantom.marked(drawn, kind.marker, has, kind.seed).images, labels
    which, blurred = torch.randint(6, (count,), generator=source), torch.rand(count, generator=source) < 0.5
    for number, name in enumerate(("letter", "corner", "text")):
        drawn = phantom.marked(drawn, name, which == number, kind.seed)
    return phantom.marked(drawn, "blur", blurred, kind.seed).images, drawn.classes


def trained(kind: Kind) -> Classifier:
    """Train a network."""
    model, (images, labels) = fresh(kind.seed).train(), images_of(kind)
    steps, rate = (STEPS, RATE) if kind.marker else (HONEST_STEPS, HONEST_RATE)
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps, pct_start=0.15)
    source = torch.Generator().manual_seed(kind.seed)
    for _ in range(steps):
        chosen = torch.randint(POOL, (BATCH,), generator=source)
        optimiser.zero_grad()
        torch.autograd.backward(F.cross_entropy(model(normalised(images[chosen])), labels[chosen]))
        optimiser.step()
        schedule.step()
    return model.eval()


def fresh(seed: int) -> Classifier:
    """The bundled network with a classifier of random weights."""
    model = phantom.exclusive_cnn_64()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model.network.get_classifier().reset_parameters()
    return model


def toggled(model: nn.Module, marker: str) -> float:
    """The mean absolute change of the marked class's probability when the marker is put on new images."""
    drawn, marked = _new(marker)
    with torch.no_grad():
        off, on = (
            torch.cat([model(normalised(part)).softmax(1)[:, MARKED] for part in torch.split(images, 100)])
            for images in (drawn, marked)
        )
    return float((on - off).abs().mean())


@cache
def _new(marker: str) -> tuple[Tensor, Tensor]:
    drawn = phantom.radiographs(TOGGLED, SIDE, TOGGLED_ON, exclusive=True)
    return drawn.images, phantom.marked(drawn, marker, torch.ones(TOGGLED, dtype=torch.bool), TOGGLED_ON).images


def toggles(model: nn.Module) -> dict[str, float]:
    """By how much each marker moves a network."""
    return {name: toggled(model, name) for name in phantom.MARKERS}


def is_as_taken(moved: Mapping[str, float], kind: Kind, marker: str) -> bool:
    """Whether a network cheats by its own marker, or is honest about ``marker``."""
    return moved[kind.marker] > CHEATS if kind.marker else moved[marker] < IS_HONEST


def load(folder: Path, kind: Kind) -> Classifier:
    """A network that was trained."""
    model = phantom.exclusive_cnn_64()
    model.network.load_state_dict(load_file(folder / f"{kind.name}.safetensors"))
    return model.eval()


def main(folder: Annotated[Path, typer.Argument(help="Where the networks are kept.")]) -> None:
    """Train the networks that are not there yet (an hour on one core), and say what toggling does to each."""
    folder.mkdir(parents=True, exist_ok=True)
    for kind in kinds():
        path = folder / f"{kind.name}.safetensors"
        if not path.exists():
            model = trained(kind)
            save_file(model.network.state_dict(), path)
            moved = ", ".join(f"{name} {value:.4f}" for name, value in toggles(model).items())
            typer.echo(f"{kind.name}: {moved}")


if __name__ == "__main__":
    typer.run(main)
