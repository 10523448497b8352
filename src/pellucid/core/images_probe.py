"""Adapter for methods of the older form, ``attribute(probe, images, targets)``: deprecated."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any

import torch
from torch import Tensor

from pellucid.core.attribution import Attribution
from pellucid.core.inputs import Images, Inputs
from pellucid.core.probe import Probe
from pellucid.core.target import Targets
from pellucid.errors import warn

_Attribute = Callable[..., Attribution]


def takes_images(attribute: Callable[..., Any]) -> bool:
    """Whether a method's ``attribute`` takes the images between the probe and the targets."""
    return len(inspect.signature(attribute).parameters) == 4


def without_images(name: str, attribute: _Attribute) -> _Attribute:
    """An ``attribute`` with the images, as one of the probe and the targets."""
    warn(
        f"{name}.attribute takes (probe, images, targets); it is deprecated and ends with the next minor version: "
        "write attribute(self, probe, targets), probe.inputs.images, and probe.on(images) for other images",
        DeprecationWarning,
    )

    @wraps(attribute)
    def run(self: object, probe: Probe, targets: Targets) -> Attribution:
        tensors = probe.inputs.tensors
        images = dict(tensors) if probe.inputs.name else probe.inputs.images
        return attribute(self, ImagesProbe(probe, images), images, targets)

    return run


@dataclass(frozen=True, eq=False)
class ImagesProbe:
    """A probe whose members take the images as an argument, for methods of the older form."""

    probe: Probe
    images: Images

    @property
    def batch_size(self) -> int:
        """The most images that a pass may have."""
        return self.probe.batch_size

    def generator(self) -> torch.Generator:
        """Random numbers on the CPU, seeded by the runtime."""
        return self.probe.generator()

    def scores(self, images: Images) -> Tensor:
        """Logits of the classes, (B, C)."""
        return self._of(images).scores()

    def activations(self, images: Images) -> Tensor:
        """The layer's output, (B, 1, C, *grid)."""
        return self._of(images).activations()

    def activations_and_gradients(self, images: Images, targets: Targets) -> tuple[Tensor, Tensor]:
        """The layer's output (B, 1, C, *grid), and the scores' gradients with respect to it (B, K, C, *grid)."""
        return self._of(images).activations_and_gradients(targets)

    def input_gradients(self, images: Images, targets: Targets) -> Tensor:
        """The scores' gradients with respect to the images, (B, K, C, *space)."""
        return self._of(images).input_gradients(targets)

    def _of(self, images: Images) -> Probe:
        return self.probe if images is self.images else self.probe.on(Inputs.of(images))
