"""The images that a choice is measured on: their scores, and what is like them to the network. Passes are counted."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from pellucid.core.head import probabilities
from pellucid.core.inputs import Inputs, chunks
from pellucid.core.target import Targets
from pellucid.models.engine import Pass
from pellucid.models.session.session import Session


@dataclass
class Passes:
    """Images that went through the network, forward."""

    count: int = 0


@dataclass(frozen=True, eq=False)
class Subjects:
    """P images with one class each. ``targets`` are resolved to those of the images as they are."""

    session: Session
    inputs: Inputs
    targets: Targets
    head: str
    passes: Passes = field(default_factory=Passes)

    def __len__(self) -> int:
        """The number of images."""
        return len(self.inputs)

    def some(self, numbers: Tensor) -> Subjects:
        """Some of them; passes are counted together."""
        inputs = self.inputs.map_each(lambda tensor: tensor[numbers.to(tensor.device)])
        return replace(self, inputs=inputs, targets=self.targets.rows(numbers))

    def prepared_one(self) -> Inputs:
        """The first input."""
        return self.prepared(torch.arange(1))

    def prepared(self, numbers: Tensor) -> Inputs:
        """Some of the inputs, on the network's device."""
        return self.session.prepared(self.some(numbers).inputs)

    def scores(self, images: Tensor, numbers: Tensor) -> Tensor:
        """The scores (N,) float64 of changed images of some numbers: probabilities."""
        found = []
        for start, stop in chunks(len(images), self.session.runtime.batch_size):
            part = numbers[start:stop]
            with torch.no_grad():
                raw = self.session.call(self._inputs(images[start:stop], part))
            found.append(self._scored(raw, part))
        self.passes.count += len(images)
        return torch.cat(found).cpu().double()

    def features(self, images: Tensor, numbers: Tensor, layer: str) -> Tensor:
        """The mean output (N, channels) of a layer over its positions."""
        found = []
        for start, stop in chunks(len(images), self.session.runtime.batch_size):
            given = self._inputs(images[start:stop], numbers[start:stop])
            with torch.no_grad():
                grid = Pass.of(self.session, given, [layer]).activations()
            found.append(grid.flatten(3).mean(3)[:, 0].detach().cpu().double())
        self.passes.count += len(images)
        return torch.cat(found)

    def _inputs(self, images: Tensor, numbers: Tensor) -> Inputs:
        """Changed images with the further inputs of their own; the images as they are are not moved to the device."""
        own, name = self.inputs, self.inputs.name
        others = {key: one for key, one in own.tensors.items() if key != name}
        chosen = replace(own, tensors=others).map_each(lambda tensor: tensor[numbers.to(tensor.device)])
        changed = images.to(own.images.dtype)
        return self.session.prepared(replace(own, tensors={name: changed, **chosen.tensors}))

    def _scored(self, raw: Tensor, numbers: Tensor) -> Tensor:
        return self.targets.rows(numbers).scores(probabilities(raw, self.head)).float()[:, 0]
