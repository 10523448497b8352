"""Red is evidence for the class and blue against it, by every method that has a sign."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import pellucid
from pellucid.core import catalogue
from pellucid.core.catalogue import signed_methods

SIDE = 16


class LeftForRightAgainst(nn.Module):
    """The score of class 0 grows with the left half of the image, and falls with the right half; class 1 has 0."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(1, 1, 1, bias=False)
        self.head = nn.Linear(SIDE * SIDE, 2, bias=False)
        weights = torch.ones(SIDE, SIDE)
        weights[:, SIDE // 2 :] = -1
        with torch.no_grad():
            self.features.weight.fill_(1)
            self.head.weight.copy_(torch.stack([weights.flatten(), torch.zeros(SIDE * SIDE)]))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images).flatten(1))


def test_there_are_methods_with_a_sign() -> None:
    assert {"hirescam", "occlusion"} <= set(signed_methods())


@pytest.mark.parametrize("name", [name for name in signed_methods() if not catalogue.find(name).uses_attention])
def test_the_side_that_speaks_for_the_class_is_red(name: str) -> None:
    image = torch.full((1, 1, SIDE, SIDE), 0.5)
    image[..., 3:13, 2:6] = image[..., 3:13, 10:14] = 1
    layers = {"layers": ["features"]} if catalogue.find(name).uses_layers else {}
    kind = catalogue.find(name)
    method = kind(masks=200) if "masks" in catalogue.options(kind) else kind()
    explanation = pellucid.explain(LeftForRightAgainst(), image, method, 0, **layers)
    (drawn,) = pellucid.overlay(explanation, torch.full((1, SIDE, SIDE), 0.5), alpha=1, signed=True)
    levels = np.asarray(drawn).astype(int)
    left, right = (levels[5:11, columns].mean(axis=(0, 1)) for columns in (slice(3, 5), slice(11, 13)))
    assert left[0] > left[2] + 50
    assert right[2] > right[0] + 50
