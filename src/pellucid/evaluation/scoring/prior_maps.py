"""Maps of priors, which need no model: a probe that has nothing but the images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn, cast

import torch
from torch import Tensor

from pellucid.core.inputs import Inputs
from pellucid.core.method import Method
from pellucid.core.probe import Probe
from pellucid.core.space import heatmap, upsample
from pellucid.core.target import Targets
from pellucid.errors import OptionError
from pellucid.evaluation.scoring.by_masks import Maps


class _NotThereError(OptionError, AttributeError):
    """What a prior asked of a network, where there is none; also for ``hasattr``."""


@dataclass(frozen=True, eq=False)
class _Images:
    """A probe of images without a network."""

    inputs: Inputs
    seed: int

    def generator(self) -> torch.Generator:
        """Random numbers on the CPU, seeded by the plan."""
        return torch.Generator().manual_seed(self.seed)

    def __getattr__(self, name: str) -> NoReturn:
        """Refuse what would need a network."""
        raise _NotThereError(f"a prior asked for {name!r}; priors never ask the model: leave this one out")


def prior_maps(prior: Method, images: Tensor, seed: int) -> Maps:
    """The maps (B, *space) of a prior for a batch (B, C, *space)."""
    found = prior.attribute(cast(Probe, _Images(Inputs.of(images), seed)), Targets("predicted")).values
    space = tuple(images.shape[2:])
    return {"heatmaps": heatmap(found, space)[:, 0], "attributions": upsample(found, space)[:, 0]}
