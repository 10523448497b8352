"""The networks and images that attacks on maps are measured on, and the maps that are attacked."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from efficientnet_lite_pytorch import EfficientNet
from safetensors.torch import load_file
from torch import Tensor, nn

import pellucid
from pellucid import phantom
from pellucid.core.image import Image
from pellucid.core.method import Method
from pellucid.methods import IntegratedGradients
from pellucid.phantom.training import normalised

IMAGES, IMAGES_FROM = 40, 12 * 10**6
"""Drawn radiographs of all classes in equal parts, whatever the network answers."""
REAL = 24
"""Ultrasound images of the three classes in equal parts."""
TAKEN = pellucid.Preprocessing(resize=(224, 224), mean=(0.498,) * 3, std=(0.502,) * 3)
"""What the ultrasound network takes."""
FEW_STEPS = IntegratedGradients(steps=4)
ALL, ONE = (1, 2, 4), (2,)
"""The budgets in grey levels of 255: all, and that of what takes long."""


@dataclass(frozen=True)
class Subject:
    """A network, its images, and the budgets of each method whose maps are attacked."""

    network: Callable[[], nn.Module]
    images: Callable[[], Tensor | Sequence[Image]]
    methods: dict[str, tuple[str | Method, Sequence[int]]]


def _drawn(side: int) -> Callable[[], Tensor]:
    return lambda: normalised(phantom.radiographs(IMAGES, side, IMAGES_FROM, exclusive=True).images)


def subjects(busi: Path | None) -> dict[str, Subject]:
    """All of them; the ultrasound network only where its folder is given."""
    gradients: dict[str, tuple[str | Method, Sequence[int]]] = {
        "gradcam": ("gradcam", ALL),
        "saliency": ("saliency", ALL),
        "input_x_gradient": ("input_x_gradient", ALL),
        "integrated_gradients, 4 steps": (FEW_STEPS, ONE),
    }
    attention: dict[str, tuple[str | Method, Sequence[int]]] = {
        "gradcam": ("gradcam", ALL),
        "saliency": ("saliency", ALL),
        "input_x_gradient": ("input_x_gradient", ONE),
        "rollout": ("rollout", ALL),
        "attnlrp": ("attnlrp", ONE),
    }
    found = {
        "CNN, 64 px": Subject(phantom.exclusive_cnn_64, _drawn(64), gradients),
        "ViT, 128 px": Subject(phantom.exclusive_vit, _drawn(128), attention),
    }
    if busi is None:
        return found
    few: dict[str, tuple[str | Method, Sequence[int]]] = {
        "gradcam": ("gradcam", ONE),
        "saliency": ("saliency", ONE),
    }
    network = ultrasound(busi)
    return {**found, "EfficientNet, ultrasound": Subject(lambda: network, lambda: scans(busi), few)}


def ultrasound(folder: Path) -> nn.Module:
    """EfficientNet-Lite0 with the weights in FOLDER: benign, malignant, normal."""
    network = EfficientNet.from_name("efficientnet-lite0")
    network._fc = nn.Linear(1280, 3)
    network.load_state_dict(load_file(folder / "busi_efficientnet_lite0.safetensors"))
    found: nn.Module = network.eval()
    return found


def scans(folder: Path) -> list[Image]:
    """The first images of each class, prepared for the network."""
    return [TAKEN(pellucid.read_image(folder / "busi" / row["path"])) for row in _chosen(folder)]


def scan_labels(folder: Path) -> list[int]:
    """The classes of these images."""
    rows = _chosen(folder)
    labels = sorted({row["label"] for row in rows})
    return [labels.index(row["label"]) for row in rows]


def _chosen(folder: Path) -> list[dict[str, str]]:
    with (folder / "busi" / "cases.csv").open() as file:
        rows = list(csv.DictReader(file))
    labels = sorted({row["label"] for row in rows})
    return [row for label in labels for row in [one for one in rows if one["label"] == label][: REAL // len(labels)]]


@dataclass(frozen=True)
class Signs(pellucid.Attack):
    """Noise of ±ε in each pixel: of the budget's size everywhere, as the steps of attacks are."""

    epsilon: float
    seed: int = 0

    def search(self, subject: pellucid.core.attack.Subject) -> Tensor:
        """The images with noise, within the range."""
        flips = torch.rand(subject.pixels.shape, generator=torch.Generator().manual_seed(self.seed)) < 0.5
        noise = torch.where(flips, -self.epsilon, self.epsilon).to(subject.pixels)
        return (subject.pixels + noise).clamp(0, 1)
