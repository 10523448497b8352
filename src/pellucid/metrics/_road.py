"""Remove and debias (ROAD): the change of the score where the first or the last pixels of a map's order are imputed."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pellucid.core.imputation import imputed
from pellucid.core.metric import Cases, Values
from pellucid.core.ranking import among_first, ranks
from pellucid.errors import OptionError
from pellucid.metrics._curves import check_count, constant


def changes(cases: Cases, maps: Tensor, steps: int, noise: float) -> Values:
    """The mean change of each case's score where the highest 1 to n of n + 1 parts of the pixels are imputed."""
    images = cases.images
    generator = cases.generator()
    ranked = ranks(maps, generator)
    pixels = ranked[:1].numel()
    counts = torch.tensor([math.ceil(pixels * k / (steps + 1)) for k in range(1, steps + 1)], device=images.device)
    noises = noise * torch.randn(steps, *images.shape[1:], generator=generator)
    noises = noises.to(images.device, images.dtype)

    def variant(which: Tensor, step: Tensor) -> Tensor:
        gone = among_first(ranked[which], counts[step].clamp(max=pixels - 1))
        found = imputed(images[which].float(), gone).to(images.dtype)
        return torch.where(gone[:, None], found + noises[step], found)

    after = cases.scores(steps, variant).cpu().double()
    return Values((after - cases.probabilities.cpu().double()[:, None]).mean(dim=1), {}, constant(cases))


def check_road(steps: int, noise: float) -> None:
    """Raise ``OptionError`` unless the options are possible."""
    check_count("steps", steps)
    if not 0 <= noise < math.inf:
        raise OptionError(f"noise={noise} was set; it must be a standard deviation of at least 0")
