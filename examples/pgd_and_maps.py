"""The published example, on a network that it trains first: a clean and an adversarial map, and their correlation.

Run it from a checkout: ``python examples/pgd_and_maps.py``. It draws spots and rings on noise, trains a small network
to tell them apart for some seconds, attacks new images that it classifies rightly, and writes nothing.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # for `src`, the checkout's published names

from src.attacks.pgd import PGDAttack
from src.xai import GradCAM, GradCAMConfig

SIDE, BATCH, STEPS, NEW = 48, 32, 80, 8
CLASSES = ("spot", "ring")


def drawn(count: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Images (count, 1, 48, 48) in [0, 1] with a spot or a ring somewhere, and their classes (count,)."""
    labels = torch.randint(len(CLASSES), (count,), generator=generator)
    centres = 10 + (SIDE - 20) * torch.rand(count, 2, 1, 1, generator=generator)
    rows, columns = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    distance = ((rows - centres[:, 0]) ** 2 + (columns - centres[:, 1]) ** 2).sqrt()
    shapes = torch.where(labels[:, None, None] == 0, distance < 5, (distance > 4) & (distance < 7))
    noise = torch.rand(count, 1, SIDE, SIDE, generator=generator)
    return (0.5 * noise + 0.4 * shapes[:, None]).clamp(0, 1), labels


def trained(generator: torch.Generator) -> nn.Module:
    """A small network that has learnt the shapes."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for inside, outside in ((1, 12), (12, 24), (24, 32)):
        layers += [nn.Conv2d(inside, outside, 3, padding=1), nn.BatchNorm2d(outside), nn.ReLU(), nn.MaxPool2d(2)]
    model = nn.Sequential(nn.Sequential(*layers), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(32, len(CLASSES)))
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(STEPS):
        images, labels = drawn(BATCH, generator)
        optimiser.zero_grad()
        torch.autograd.backward(nn.functional.cross_entropy(model(images), labels))
        optimiser.step()
    return model.eval()


def main() -> None:
    """Train, attack, and print how much each map has moved."""
    generator = torch.Generator().manual_seed(0)
    model = trained(generator)
    images, labels = drawn(NEW, generator)
    right = model(images).argmax(1) == labels
    print(f"{int(right.sum())} of {NEW} new images are classified rightly")

    gradcam = GradCAM(model, GradCAMConfig(target_layers=["0"], use_cuda=False))
    attack = PGDAttack(model, epsilon=8 / 255)
    for image, label in zip(images[right], labels[right].tolist(), strict=True):
        adversarial = attack.generate(image)
        clean_heatmap = gradcam.generate_heatmap(image, class_idx=label)
        adversarial_heatmap = gradcam.generate_heatmap(adversarial, class_idx=label)
        correlation = np.corrcoef(clean_heatmap.flatten(), adversarial_heatmap.flatten())[0, 1]
        after = int(model(adversarial[None]).argmax())
        print(f"{CLASSES[label]}, now {CLASSES[after]}: the maps correlate by {correlation:.2f}")


if __name__ == "__main__":
    main()
