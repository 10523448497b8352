"""The published interface refuses layers that do not see the image as a whole."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pellucid.errors import LayerError
from pellucid.xai import GradCAM, GradCAMConfig
from tests.networks import TinyCNN, seeded


class Mirrored(TinyCNN):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + super().forward(x.flip(-1))


class Cropped(TinyCNN):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x[..., 8:24, 8:24])


@pytest.mark.parametrize("kind", [Mirrored, Cropped])
def test_layers_that_see_other_than_the_whole_image_are_refused(kind: type[TinyCNN]) -> None:
    cam = GradCAM(seeded(kind).eval(), GradCAMConfig(target_layers=["features.3"]))
    with pytest.raises(LayerError, match=r"cropped, mirrored or several times.*use pellucid\.explain"):
        cam.generate_heatmap(torch.rand(1, 3, 32, 32))
