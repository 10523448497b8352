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
from pellucid.run.logits import clean_logits


@dataclass
class Passes:
    """Images that went through the network, forward."""

    count: int = 0


@dataclass(frozen=True, eq=False)
class Subjects:
    """P images with one class each.

    ``raw`` (P, C) or (P, C, *space) are the network's outputs for the images as they are, to which ``targets`` are
    resolved.
    """

    session: Session
    inputs: Inputs
    targets: Targets
    raw: Tensor
    passes: Passes = field(default_factory=Passes)

    @classmethod
    def of(cls, session: Session, inputs: Inputs, targets: Targets) -> Subjects:
        """Let the network see each image once."""
        raw = clean_logits(session, inputs)
        return cls(session, inputs, targets.resolved(raw), raw, Passes(len(inputs)))

    def __len__(self) -> int:
        """The number of images."""
        return len(self.inputs)

    def some(self, numbers: Tensor) -> Subjects:
        """Some of them; passes are counted together."""
        inputs = self.inputs.map_each(lambda tensor: tensor[numbers.to(tensor.device)])
        return replace(
            self, inputs=inputs, targets=self.targets.rows(numbers), raw=self.raw[numbers.to(self.raw.device)]
        )

    def classes(self) -> Tensor:
        """The class of each image, (P,), on the CPU."""
        return self.targets.indices(self.raw)[:, 0].cpu()

    def probabilities(self) -> Tensor:
        """The probabilities of the images as they are, (P, C), on the CPU."""
        return probabilities(self.raw, self.targets.head).cpu()

    def plain(self) -> Tensor:
        """The scores of the images as they are, (P,) float64: no further pass."""
        return self._scored(self.raw, torch.arange(len(self))).cpu().double()

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
        return self.targets.rows(numbers).scores(probabilities(raw, self.targets.head)).float()[:, 0]
