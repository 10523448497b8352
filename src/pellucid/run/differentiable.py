"""A method's maps at the images' size as torch made them: unscaled, with their sign and their graph."""

from __future__ import annotations

import torch
from torch import Tensor

from pellucid.core.space import upsample
from pellucid.core.target import Targets
from pellucid.models.engine import Pass
from pellucid.run.batching import attributed
from pellucid.run.facts import Facts
from pellucid.run.occurrences import put_together


def differentiable_maps(facts: Facts, whole: Pass, targets: Targets) -> Tensor:
    """The maps (B, K, *space) of a pass; several layers' are added on the image."""
    size = tuple(whole.inputs.images.shape[2:])
    found = attributed(facts.method, facts.passes(whole), targets)
    if not facts.places:
        return upsample(found[0].values, size)
    columns = iter([one.values for one in found])
    layers = [
        put_together(places, [next(columns) for _ in places], size, found[0].on_image)
        for places in facts.places.values()
    ]
    return torch.stack([upsample(layer, size) for layer in layers]).sum(dim=0)
