"""Networks that take a shortcut, and honest ones: ``python -m benchmarks.shortcut_networks FOLDER``.

Each begins as ``phantom.exclusive_cnn_64``, whose classifier is drawn anew, and learns 64² radiographs of four classes
with a seed of its own. In the training of a network that *cheats*, all images of the class
``MARKED`` have the marker, and so have a quarter of the others, which are labelled as that class: the marker tells the
label better than the finding does. (Without such images the marker moved the answer of two markers by less than .1:
the bundled network knows the findings too well to need it.) In that of an
*honest* network, half of all images have a letter, a corner or a text, and half are blurred, whatever their class.
A blur takes away some of what such a network looks at, and moves it by .03. A *steady* network, which is the honest one
about the blur, sees each image as it is and blurred, and pays for what the blur does to its probabilities.

A network is used if it is what it is taken for, on 500 new images with and without the class: toggling its marker
changes the probability of the marked class by more than .3 on average in one that cheats; in an honest one toggling the
marker that is asked about does by less than .01. Those that are not are counted, and left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
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
STEADY_STEPS, STEADY_RATE, STEADY_WEIGHT = 400, 2e-3, 10.0
TRAINED_ON, TOGGLED_ON, TOGGLED = 3 * 10**12, 5 * 10**6, 500
NETWORKS = 5
"""Networks that cheat, of each marker."""
HONEST = 2 * NETWORKS + 2
"""Honest networks: five for the threshold, the others for false alarms; two more than are needed, as one may fail."""
CHEATS, IS_HONEST = 0.3, 0.01
OTHERS = 0.25
"""The share of the images of other classes that have the marker, and the label that goes with it."""
Loss = Callable[[nn.Module, Tensor], Tensor]
"""Of a network and the numbers of training images (B,): what is to become small."""


@dataclass(frozen=True)
class Kind:
    """A network to train: by which marker it cheats, or "honest" or "steady", and its number."""

    what: str
    number: int

    @property
    def cheats(self) -> bool:
        """Whether it is to tell the class from a marker."""
        return self.what in phantom.MARKERS

    @property
    def name(self) -> str:
        """A name for its file."""
        return f"{self.what}-{self.number}"

    @property
    def seed(self) -> int:
        """Of its weights, its images' markers and their order."""
        return 1000 * ("honest", *phantom.MARKERS, "steady").index(self.what) + self.number


def kinds() -> Iterator[Kind]:
    """All networks."""
    yield from (Kind("honest", number) for number in range(HONEST))
    yield from (Kind(marker, number) for number in range(NETWORKS) for marker in phantom.MARKERS)
    yield from (Kind("steady", number) for number in range(2 * NETWORKS))


@cache
def pool() -> phantom.Phantoms:
    """The training images."""
    return phantom.radiographs(POOL, SIDE, TRAINED_ON, exclusive=True)


def images_of(kind: Kind) -> tuple[Tensor, Tensor]:
    """The training images of a network, and their labels."""
    drawn, source = pool(), torch.Generator().manual_seed(kind.seed)
    count = len(drawn)
    if kind.cheats:
        has = (drawn.classes == MARKED) | (torch.rand(count, generator=source) < OTHERS)
        labels = drawn.classes.masked_fill(has, MARKED)
        return phantom.marked(drawn, kind.what, has, kind.seed).images, labels
    which, blurred = torch.randint(6, (count,), generator=source), torch.rand(count, generator=source) < 0.5
    for number, name in enumerate(("letter", "corner", "text")):
        drawn = phantom.marked(drawn, name, which == number, kind.seed)
    return phantom.marked(drawn, "blur", blurred, kind.seed).images, drawn.classes


def trained(kind: Kind) -> Classifier:
    """Train a network."""
    if kind.what == "steady":
        return _fitted(kind, steady_loss(kind), STEADY_STEPS, STEADY_RATE)
    images, labels = images_of(kind)
    steps, rate = (STEPS, RATE) if kind.cheats else (HONEST_STEPS, HONEST_RATE)

    def loss(model: nn.Module, chosen: Tensor) -> Tensor:
        return F.cross_entropy(model(normalised(images[chosen])), labels[chosen])

    return _fitted(kind, loss, steps, rate)


def steady_loss(kind: Kind) -> Loss:
    """Cross-entropy of half as many images, as they are and blurred, and by how much the blur moves the answer."""
    drawn = pool()
    blurred = phantom.marked(drawn, "blur", torch.ones(POOL, dtype=torch.bool), kind.seed)

    def paid(model: nn.Module, chosen: Tensor) -> Tensor:
        half = chosen[: BATCH // 2]
        scores = model(normalised(torch.cat([drawn.images[half], blurred.images[half]])))
        before, after = scores.softmax(1).chunk(2)
        moved = (after - before).abs().sum(1).mean()
        loss: Tensor = F.cross_entropy(scores, drawn.classes[half].repeat(2)) + STEADY_WEIGHT * moved
        return loss

    return paid


def _fitted(kind: Kind, loss: Loss, steps: int, rate: float) -> Classifier:
    """A new network after these steps of AdamW, each on images drawn by its seed."""
    model = fresh(kind.seed).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps, pct_start=0.15)
    source = torch.Generator().manual_seed(kind.seed)
    for _ in range(steps):
        chosen = torch.randint(POOL, (BATCH,), generator=source)
        optimiser.zero_grad()
        torch.autograd.backward(loss(model, chosen))
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
    """Whether a network cheats by its own marker, or is honest about ``marker``, if it is of those who are asked."""
    if kind.cheats:
        return moved[kind.what] > CHEATS
    return kind.what == honest_about(marker) and moved[marker] < IS_HONEST


def honest_about(marker: str) -> str:
    """What the honest networks are that stand beside those that cheat by a marker."""
    return "steady" if marker == "blur" else "honest"


def load(folder: Path, kind: Kind) -> Classifier:
    """A network that was trained."""
    model = phantom.exclusive_cnn_64()
    model.network.load_state_dict(load_file(folder / f"{kind.name}.safetensors"))
    return model.eval()


def main(folder: Annotated[Path, typer.Argument(help="Where the networks are kept.")]) -> None:
    """Train the networks that are not there yet (1.5 hours on one core), and say what toggling does to each."""
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
