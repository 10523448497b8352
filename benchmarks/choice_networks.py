"""The networks that a choice is judged on: five families, each trained from several seeds, none of which saw a mask.

A seed draws the training images, the first weights and the order of the batches. Transformers learn from the
convolutional network of their seed, as in ``unguided_networks``; the other families from the labels alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import typer
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.unguided_networks import (
    IMAGES,
    SIDE,
    STUDENTS,
    Lessons,
    Pool,
    distilled,
    draw,
    lessons,
    teach,
)
from pellucid import phantom
from pellucid.phantom.models import untrained
from pellucid.phantom.training import normalised

CACHE = Path(__file__).parents[1] / "docs" / ".cache" / "choice"
SEEDS = (1, 2, 3)
_TEACHER = "cnn"
_BY_HEART, _BATCH = 74_000_000, 24


@dataclass(frozen=True)
class Family:
    """The name that a reader sees, how to build a network, and the student that it is where another teaches it."""

    title: str
    build: Callable[[], nn.Module]
    student: str | None = None
    half: bool = False


def _resnet() -> nn.Module:
    from timm.models.resnet import BasicBlock, ResNet

    return ResNet(BasicBlock, (1, 1, 1, 1), channels=(16, 32, 64, 128), in_chans=1, num_classes=len(phantom.FINDINGS))  # type: ignore[arg-type]  # timm annotates an instance, and expects the class


def _efficientnet() -> nn.Module:
    from timm.models.efficientnet import _gen_efficientnet

    network: nn.Module = _gen_efficientnet(  # type: ignore[no-untyped-call]  # timm leaves it so
        "efficientnet_b0",
        channel_multiplier=0.35,
        depth_multiplier=0.5,
        in_chans=1,
        num_classes=len(phantom.FINDINGS),
    )
    return network


FAMILIES: Mapping[str, Family] = {
    _TEACHER: Family("ResNet, stride 8", lambda: untrained("cnn").network, half=True),
    "resnet": Family("timm's ResNet, stride 32", _resnet, half=True),
    "efficientnet": Family("EfficientNet, stride 32", _efficientnet),
    "vit": Family("ViT, 6 blocks", STUDENTS["vit6"].build, "vit6"),
    "swin": Family("Swin, 2 + 4 blocks", STUDENTS["swin6"].build, "swin6"),
}


def built(family: str, seed: int) -> nn.Module:
    """An untrained network with the weights of a seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return FAMILIES[family].build()


def trained(family: str, seed: int) -> nn.Module:
    """The network of a family and a seed, from the cache."""
    network = built(family, seed)
    network.load_state_dict(load_file(_file(family, seed)))
    return network.eval()


def by_heart(count: int = 240, epochs: int = 60) -> tuple[nn.Module, phantom.Phantoms, Tensor]:
    """A convolutional network that was taught labels drawn at random, until it knows them; the images and labels.

    The labels (N, findings) bool have nothing to do with what is drawn. No image is changed between epochs.
    """
    drawn = phantom.radiographs(count, SIDE, _BY_HEART)
    taught = torch.rand(drawn.labels.shape, generator=torch.Generator().manual_seed(_BY_HEART)) < 0.5
    network, images = built(_TEACHER, _BY_HEART).train(), normalised(drawn.images)
    optimiser = torch.optim.AdamW(network.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=epochs * (count // _BATCH))
    source = torch.Generator().manual_seed(_BY_HEART)
    for _ in range(epochs):
        for chosen in torch.split(torch.randperm(count, generator=source), _BATCH):
            loss = F.binary_cross_entropy_with_logits(network(images[chosen]), taught[chosen].float())
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
            schedule.step()
    return network.eval(), drawn, taught


def _file(family: str, seed: int) -> Path:
    return CACHE / f"{family}-{seed}.safetensors"


def train(seeds: Sequence[int] = SEEDS, families: Sequence[str] = tuple(FAMILIES)) -> None:
    """Train what is not in the cache: the teacher of a seed first."""
    CACHE.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        missing = [name for name in families if not _file(name, seed).exists()]
        if missing:
            for name, network in _of_a_seed(missing, seed):
                save_file(network.state_dict(), _file(name, seed))
                typer.echo(f"{name} {seed}: trained")


def _of_a_seed(missing: Sequence[str], seed: int) -> Iterator[tuple[str, nn.Module]]:
    pool = draw(IMAGES, seed)
    known: Lessons | None = None
    for name in missing:
        student = FAMILIES[name].student
        if student is None:
            network = built(name, seed)
            teach(network, pool, seed=seed, half=FAMILIES[name].half)
            yield name, network
            continue
        if known is None:
            known = _taught(pool, seed)
        yield name, distilled(STUDENTS[student], pool, known, seed=seed)


def _taught(pool: Pool, seed: int) -> Lessons:
    """What the convolutional network of this seed makes of the images."""
    return lessons(trained(_TEACHER, seed), pool)


if __name__ == "__main__":
    torch.set_num_threads(1)
    typer.run(train)
