"""Volumes, which are large, and batches that do not fit."""

from __future__ import annotations

import pytest
import torch
from monai.networks.nets import DenseNet121
from torchvision.models.video import r3d_18

import pellucid
from pellucid.errors import PellucidWarning
from pellucid.methods.rise import RISE
from tests.memory import peak
from tests.networks import TinyCNN, images, seeded

REASONS = {
    "gpu": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    "cpu": RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 281474976710656 bytes."),
}


SEEN: list[int] = []
"""The sizes of the passes of a ``Narrow`` network."""


class Narrow(TinyCNN):
    """Takes ``most`` images at a time."""

    def __init__(self, most: int, error: RuntimeError) -> None:
        super().__init__()
        self.most, self.error = most, error

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if len(x) > self.most:
            raise self.error
        SEEN.append(len(x))
        return super().forward(x)


# Volumes so large that two of the images on which the layer is found are not taken at a time.
NETWORKS = {
    "residual": (3, 40, lambda: r3d_18(num_classes=14)),
    "dense": (1, 64, lambda: DenseNet121(spatial_dims=3, in_channels=1, out_channels=14)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_volume_takes_little_more_than_its_prediction(name: str) -> None:
    channels, side, make = NETWORKS[name]
    network, volume = make().eval(), images(1, rank=3, side=side, channels=channels)
    with torch.no_grad():
        plain = peak(lambda: network(volume))
    for method in ("gradcam", "gradcam++"):  # the first call also finds the layer
        for targets in ("all", 0):
            taken = peak(lambda method=method, targets=targets: pellucid.explain(network, volume, method, targets))
            assert taken <= 1.25 * plain, (method, targets)


@pytest.mark.parametrize("reason", REASONS)
def test_a_batch_that_does_not_fit_is_taken_in_parts(reason: str) -> None:
    model, batch = seeded(Narrow, 3, REASONS[reason]).eval(), images(7)
    SEEN.clear()
    with pytest.warns(PellucidWarning, match="batch_size=32 does not fit into memory; 2 at a time did") as caught:
        found = pellucid.explain(model, batch, targets="all")
    assert caught[0].filename == __file__
    assert max(SEEN) == 2
    wanted = pellucid.explain(seeded(TinyCNN).eval(), batch, targets="all")
    torch.testing.assert_close(found.heatmaps, wanted.heatmaps)


def test_so_are_masks_of_one_image() -> None:
    model, image = seeded(Narrow, 3, REASONS["gpu"]).eval(), images(1)
    with pytest.warns(PellucidWarning, match="2 at a time did"):
        found = pellucid.explain(model, image, RISE(masks=10), targets=1)
    wanted = pellucid.explain(seeded(TinyCNN).eval(), image, RISE(masks=10), targets=1)
    torch.testing.assert_close(found.heatmaps, wanted.heatmaps)


def test_what_does_not_fit_alone_is_an_error() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        pellucid.explain(seeded(Narrow, 0, REASONS["gpu"]).eval(), images(2))


def test_other_errors_are_not_taken_for_that() -> None:
    model = seeded(Narrow, 0, RuntimeError("mat1 and mat2 shapes cannot be multiplied")).eval()
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        pellucid.explain(model, images(2))
