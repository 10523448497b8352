"""Small trainings for the tests of ``pellucid.training``, by hand and by Lightning."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from pellucid.training import MonitoringPlan
from tests.networks import TinyCNN, images, seeded

COUNT, SIDE, CLASSES = 12, 32, 4


@dataclass
class Kept:
    """A tracker that keeps what it gets, with the calls in their order."""

    calls: list[str] = field(default_factory=list)
    parameters_: dict[str, object] = field(default_factory=dict)
    metrics_: dict[int, dict[str, float]] = field(default_factory=dict)
    images: dict[tuple[str, int], Image.Image] = field(default_factory=dict)

    def parameters(self, values) -> None:
        self.calls.append("parameters")
        self.parameters_ |= values

    def metrics(self, values, step: int = 0) -> None:
        self.calls.append("metrics")
        self.metrics_.setdefault(step, {}).update(values)

    def image(self, key: str, image: Image.Image, step: int = 0) -> None:
        self.calls.append("image")
        self.images[key, step] = image

    def file(self, path: Path, folder: str = "") -> None:
        self.calls.append("file")

    def child(self, name: str) -> Kept:
        raise AssertionError(name)

    def close(self) -> None:
        self.calls.append("close")


def masks(count: int = 4) -> Tensor:
    """A square in the corner of each image."""
    found = torch.zeros(count, SIDE, SIDE, dtype=torch.bool)
    found[:, :16, :16] = True
    return found


def plan(count: int = 4, **options) -> MonitoringPlan:
    """A plan for the first images, whose maps always show something."""
    chosen = {"method": "saliency", "head": "softmax", "masks": masks(count), **options}
    return MonitoringPlan(images(count), [number % CLASSES for number in range(count)], **chosen)


def data(workers: int = 0, shuffle: bool = True) -> DataLoader[tuple[Tensor, ...]]:
    """Images and labels in batches of four, in an order that torch draws."""
    return DataLoader(
        TensorDataset(images(COUNT), torch.arange(COUNT) % CLASSES), 4, shuffle=shuffle, num_workers=workers
    )


class Module(pl.LightningModule):
    """A network with dropout and a norm, by default as its forward; it notes the labels in the order of training."""

    def __init__(self, network: nn.Module | None = None) -> None:
        super().__init__()
        self.model = network if network is not None else seeded(TinyCNN)
        self.seen: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)

    def training_step(self, batch: Sequence[Tensor], number: int) -> Tensor:
        self.seen += [float(one.sum()) for one in batch[0]]
        return F.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: Sequence[Tensor], number: int) -> None:
        self.log("val_loss", F.cross_entropy(self(batch[0]), batch[1]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=1e-2)


class Inner(Module):
    """A module that has no forward of its own, beside a loss without parameters."""

    forward = pl.LightningModule.forward

    def __init__(self) -> None:
        super().__init__()
        self.loss = nn.CrossEntropyLoss()

    def training_step(self, batch: Sequence[Tensor], number: int) -> Tensor:
        self.seen += [float(one.sum()) for one in batch[0]]
        return self.loss(self.model(batch[0]), batch[1])

    def validation_step(self, batch: Sequence[Tensor], number: int) -> None:
        self.log("val_loss", self.loss(self.model(batch[0]), batch[1]))


def trainer(folder: Path, callbacks: Sequence[pl.Callback], epochs: int = 2, **options) -> pl.Trainer:
    """A quiet trainer on the CPU, without loggers and checkpoints if they are not asked for."""
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu", "devices": 1}
    chosen = {"logger": False, "enable_checkpointing": False, "log_every_n_steps": 1, **quiet, **options}
    return pl.Trainer(max_epochs=epochs, callbacks=list(callbacks), default_root_dir=folder, **chosen)


@dataclass
class End:
    """All that a training may leave changed."""

    tensors: dict[str, Tensor]
    optimizer: list[Tensor]
    modes: list[bool]
    seen: list[float]
    torch_state: Tensor
    python_state: object
    numpy_state: list[object]

    def differences(self, other: End) -> list[str]:
        """What differs, bit for bit."""
        found = [name for name, one in self.tensors.items() if not torch.equal(one, other.tensors[name])]
        found += ["optimizer"] * (not all(map(torch.equal, self.optimizer, other.optimizer)))
        found += ["optimizer"] * (len(self.optimizer) != len(other.optimizer))
        found += ["torch"] * (not torch.equal(self.torch_state, other.torch_state))
        plain = ("modes", "seen", "python_state", "numpy_state")
        return found + [name for name in plain if getattr(self, name) != getattr(other, name)]


def end_of(module: nn.Module, optimizers: Sequence[torch.optim.Optimizer], seen: Sequence[float]) -> End:
    """The state after a training."""
    kind, keys, *rest = np.random.get_state()
    states = [one for optimizer in optimizers for state in optimizer.state.values() for one in state.values()]
    return End(
        {name: one.detach().clone() for name, one in module.state_dict().items()},
        [torch.as_tensor(one).clone() for one in states],
        [one.training for one in module.modules()],
        list(seen),
        torch.get_rng_state(),
        random.getstate(),
        [kind, keys.tolist(), *rest],
    )


def seed_everything() -> None:
    """The same random numbers in each training."""
    torch.manual_seed(0)
    random.seed(0)
    np.random.seed(0)
