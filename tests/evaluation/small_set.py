"""A small data set on the disk and a small network, for the tests of measuring."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image as Pillow
from torch import nn

from pellucid.core.runtime import Runtime
from pellucid.evaluation.scoring.network import Network
from pellucid.models.preprocessing import Preprocessing

SIDE, GRID = 40, 32
CLASSES = ("cyst", "nodule", "normal")
COLUMNS = "path,label,mask,patient,age,split"


def network() -> Network:
    """A network of random weights, the same each time."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 3),
    ).eval()
    preprocessing = Preprocessing(resize=(GRID, GRID), mean=(0.5,) * 3, std=(0.25,) * 3)
    return Network(model, preprocessing, CLASSES, "softmax", None, Runtime(batch_size=4))


def written(folder: Path, findings: int = 9, without: int = 3, change: Callable[[int, str], str] | None = None) -> Path:
    """Write images, masks and cases.csv; two findings of a patient. ``change`` may alter a row's line."""
    folder.mkdir(exist_ok=True)
    generator = np.random.default_rng(5)
    lines = [COLUMNS]
    for number in range(findings + without):
        pixels = generator.integers(0, 120, (SIDE, SIDE), dtype=np.uint8)
        mask = np.zeros((SIDE, SIDE), dtype=np.uint8)
        y, x = generator.integers(2, SIDE - 12, 2)
        mask[y : y + 8, x : x + 9] = 255
        if number < findings:
            pixels[mask > 0] = 230
            Pillow.fromarray(mask).save(folder / f"mask {number}.png")
        Pillow.fromarray(pixels).save(folder / f"image {number}.png")
        label = CLASSES[number % 2] if number < findings else "normal"
        stated = f"mask {number}.png" if number < findings else ""
        line = f"image {number}.png,{label},{stated},P{number // 2},{'old' if number % 3 else 'young'},"
        lines.append(change(number, line) if change else line)
    path = folder / "cases.csv"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path
