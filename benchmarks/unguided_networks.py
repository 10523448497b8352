"""Small transformers that learn the phantoms' findings without their positions: no mask is part of the training.

The networks of ``pellucid.phantom`` are also taught where the findings are. Without that, small transformers learn
little: from so few images they do not find out that a few patches decide. A convolutional network does, from the labels
alone, and teaches them in two parts. First the cells in the middle of the transformer learn to output the teacher's
last features (hints, Romero et al. 2015, arXiv:1412.6550). Then the whole network learns to output the teacher's
probabilities, and the mean of its features over the image (distillation, Hinton et al. 2015, arXiv:1503.02531). The
second part leaves open what becomes of the cells, and where the later blocks gather the evidence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from timm.layers.pos_embed_sincos import build_sincos2d_pos_embed
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from pellucid import phantom
from pellucid.phantom.models import untrained
from pellucid.phantom.training import normalised

SIDE, GRID = 96, 12
"""Pixels and cells per side: a cell of every network's last grid is 8 × 8 pixels, as in the bundled networks."""
IMAGES = 20_000
"""The number of training images."""
_SEED = 10**12 + 7 * 10**6
_PER_SEED = 10_000
_CHUNK = 250


@dataclass(frozen=True)
class Part:
    """The settings of a part of a training."""

    steps: int
    rate: float
    batch: int = 32


@dataclass(frozen=True)
class Student:
    """A transformer: the name that a reader sees, how to build it, and the stage of it that gets hints.

    ``half`` trains in bfloat16, where that is faster.
    """

    title: str
    build: Callable[[], nn.Module]
    hinted: int
    half: bool = False


@dataclass(frozen=True, eq=False)
class Pool:
    """Training images (N, 1, H, W) uint8 and their labels (N, 3): no masks."""

    images: Tensor
    labels: Tensor


@dataclass(frozen=True, eq=False)
class Lessons:
    """What a teacher makes of the images of a pool: its last features (N, C, 12, 12) float16, and logits (N, 3)."""

    features: Tensor
    logits: Tensor


def _vit(depth: int, width: int, **options: Any) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        network = VisionTransformer(
            img_size=SIDE,
            patch_size=SIDE // GRID,
            in_chans=1,
            num_classes=len(phantom.FINDINGS),
            embed_dim=width,
            depth=depth,
            num_heads=width // 16,
            mlp_ratio=2,
            no_embed_class=True,
            weight_init="jax",
            **options,
        )
        with torch.no_grad():  # as in the bundled one: neighbourhood from the first step on
            network.get_parameter("pos_embed")[0] = build_sincos2d_pos_embed([GRID, GRID], width)
        return network

    return build


def _swin(*depths: int) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        return SwinTransformer(
            img_size=SIDE,
            patch_size=4,
            in_chans=1,
            num_classes=len(phantom.FINDINGS),
            embed_dim=32,
            depths=depths,
            num_heads=(2, 4),
            window_size=6,
            drop_path_rate=0.0,
            weight_init="jax",
        )

    return build


STUDENTS: Mapping[str, Student] = {
    "vit6": Student("ViT, 6 blocks", _vit(6, 64), hinted=2),
    "vit8": Student("ViT, 8 blocks", _vit(8, 48), hinted=3),
    "registers": Student("ViT, 6 blocks, 4 register tokens", _vit(6, 64, reg_tokens=4), hinted=2),
    "mean": Student("ViT, 8 blocks, mean", _vit(8, 48, class_token=False, global_pool="avg"), hinted=3),
    # Its blocks are in two stages, and only the cells of the last are as large as the teacher's.
    "swin6": Student("Swin, 2 + 4 blocks", _swin(2, 4), hinted=1, half=True),
    "swin8": Student("Swin, 2 + 6 blocks", _swin(2, 6), hinted=1, half=True),
}
"""The transformers by name, in the order in which they are shown."""
LABELS, HINTS, DISTILLATION = Part(1500, 3e-3), Part(1500, 4e-3, batch=8), Part(900, 2e-3)
"""The teacher's training, and both parts of a student's."""


def draw(count: int, seed: int = 0) -> Pool:
    """Draw training images, others for each seed, and forget their masks."""
    firsts, start = range(0, count, _CHUNK), _SEED + _PER_SEED * seed
    drawn = [phantom.radiographs(min(_CHUNK, count - first), SIDE, start + first // _CHUNK) for first in firsts]
    images = torch.cat([(one.images * 255).round().to(torch.uint8) for one in drawn])
    return Pool(images, torch.cat([one.labels for one in drawn]).float())


def teacher() -> Any:
    """The convolutional network, untrained."""
    return untrained("cnn").network


def teach(network: nn.Module, pool: Pool, part: Part = LABELS, seed: int = 0, *, half: bool = True) -> None:
    """Train a network on the labels; ``half`` in bfloat16."""

    def loss(chosen: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(network(_prepared(pool.images[chosen])), pool.labels[chosen])

    _fit([network], loss, len(pool.images), part, half, seed)


def lessons(network: Any, pool: Pool) -> Lessons:
    """What the teacher makes of the images of a pool."""
    with torch.no_grad():
        features = torch.cat(
            [network.forward_features(_prepared(part)).half() for part in torch.split(pool.images, _CHUNK)]
        )
        return Lessons(features, network.get_classifier()(features.mean((-1, -2), dtype=torch.float32)))


def distilled(
    student: Student,
    pool: Pool,
    known: Lessons,
    hints: Part = HINTS,
    distillation: Part = DISTILLATION,
    seed: int = 0,
) -> nn.Module:
    """Train a transformer on what the teacher makes of a pool."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = student.build()
        _hint(network, student, pool, known, hints, seed)
        _distil(network, student, pool, known, distillation, seed)
    return network.eval()


def _hint(network: Any, student: Student, pool: Pool, known: Lessons, part: Part, seed: int) -> None:
    """Train the cells of a stage to give the teacher's features, by a linear layer that is then discarded."""
    width, at = known.features.shape[1], [student.hinted]
    mean, deviation = (one[:, None, None] for one in _statistics(known.features.movedim(1, -1).flatten(0, -2)))
    projection = nn.LazyConv2d(width, 1)

    def loss(chosen: Tensor) -> Tensor:
        (cells,) = network.forward_intermediates(_prepared(pool.images[chosen]), indices=at, intermediates_only=True)
        return F.mse_loss(projection(cells).float(), (known.features[chosen].float() - mean) / deviation)

    with torch.no_grad():
        loss(torch.zeros(1, dtype=torch.int64))  # the linear layer's width is known from then on
    _fit([network, projection], loss, len(pool.images), part, student.half, seed)


def _distil(network: Any, student: Student, pool: Pool, known: Lessons, part: Part, seed: int) -> None:
    """Train a network to give the teacher's probabilities, and by a linear layer the mean of its features."""
    pooled = known.features.mean((-1, -2), dtype=torch.float32)
    mean, deviation = _statistics(pooled)
    projection = nn.Linear(network.num_features, pooled.shape[1])

    def loss(chosen: Tensor) -> Tensor:
        features = network.forward_features(_prepared(pool.images[chosen]))
        logits, own = network.forward_head(features), projection(network.forward_head(features, pre_logits=True))
        likeness = F.mse_loss(own.float(), (pooled[chosen] - mean) / deviation)
        return F.binary_cross_entropy_with_logits(logits.float(), known.logits[chosen].sigmoid()) + likeness

    _fit([network, projection], loss, len(pool.images), part, student.half, seed)


def _statistics(features: Tensor) -> tuple[Tensor, Tensor]:
    """The mean and the standard deviation of features (N, C), of at most some 100,000 of them."""
    some = features[:: 1 + len(features) // 100_000].float()
    return some.mean(0), some.std(0).clamp(min=1e-6)


def _fit(  # what is trained, by what, on what, how
    modules: Sequence[nn.Module], loss: Callable[[Tensor], Tensor], count: int, part: Part, half: bool, seed: int
) -> None:
    """Minimise a loss of the indices of a batch, with AdamW and a one-cycle learning rate."""
    parameters = [one for module in modules for one in module.train().parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=part.rate, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, part.rate, total_steps=part.steps, pct_start=0.15)
    for chosen in _batches(count, part, seed):
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            found = loss(chosen)
        optimiser.zero_grad()
        torch.autograd.backward(found)
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        schedule.step()
    for module in modules:
        module.eval()


def _batches(count: int, part: Part, seed: int) -> Iterator[Tensor]:
    """The indices of shuffled batches."""
    source, order = torch.Generator().manual_seed(seed), torch.empty(0, dtype=torch.int64)
    for _ in range(part.steps):
        while len(order) < part.batch:
            order = torch.cat([order, torch.randperm(count, generator=source)])
        chosen, order = order[: part.batch], order[part.batch :]
        yield chosen


def _prepared(images: Tensor) -> Tensor:
    return normalised(images.float() / 255)
