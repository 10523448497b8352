"""A batch of images and classes, and their maps by each method and prior."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from pellucid.core.explanation import Explanation
from pellucid.core.image import Image
from pellucid.core.metric import Takes
from pellucid.errors import DataError, OptionError
from pellucid.evaluation.data.made_before import MISSING, read_map
from pellucid.evaluation.scoring.by_masks import Maps
from pellucid.evaluation.scoring.failing import reason_of
from pellucid.evaluation.scoring.network import Network
from pellucid.evaluation.scoring.prior_maps import prior_maps
from pellucid.evaluation.scoring.request import Requested
from pellucid.run.judged_maps import maps_of

NOT_FINITE = "the method returns values that are not finite"


@dataclass(frozen=True, eq=False)
class Batch:
    """P images of one size, the class that is explained of each, (P,), and what there is of each beforehand.

    ``labels`` are the names of the classes, which are −1 without a model. ``mean_masks`` (P, *space) are NaN where no
    other patient has a mask; ``files`` are maps made before, by method.
    """

    images: Sequence[Image]
    classes: Tensor
    labels: Sequence[str]
    mean_masks: Tensor
    files: Sequence[Mapping[str, Path]]

    @property
    def values(self) -> Tensor:
        """The network's input, (P, C, *space)."""
        return torch.stack([one.values for one in self.images])

    def part(self, which: Sequence[int], classes: Tensor) -> Batch:
        """Some of the images, with the classes (P,) of all."""
        chosen = list(which)
        images, files = [self.images[index] for index in chosen], [self.files[index] for index in chosen]
        labels = [self.labels[index] for index in chosen]
        return Batch(images, classes[chosen], labels, self.mean_masks[chosen], files)


@dataclass(frozen=True, eq=False)
class Made:
    """The maps (P, *space) of a batch, NaN where there is none, how often and why; the Explanation of a method."""

    maps: Maps
    explanation: Explanation | None = None
    missing: Mapping[str, int] | None = None

    def part(self, which: Sequence[int]) -> Made:
        """The maps of some of the images, without a count of those that are missing."""
        chosen = list(which)
        maps: Maps = {takes: one[chosen] for takes, one in self.maps.items()}
        return Made(maps, None if self.explanation is None else self.explanation[chosen])


def made(name: str, asked: Requested, network: Network | None, batch: Batch, seed: int) -> Made:
    """The maps of a method or prior; of a prior that is drawn at random, one draw."""
    if name in asked.made_before:
        return _made_before(name, batch)
    if name in asked.from_masks:
        return of_mean_masks(batch.mean_masks)
    if name in asked.priors:
        return Made(prior_maps(asked.priors[name], batch.values, seed))
    if network is None:
        raise OptionError(f"method {name!r} was asked for; it needs a model")
    explainer = network.explainer(asked.methods[name])
    return explained(batch, lambda part: explainer(part.values, part.classes[:, None]))


def explained(batch: Batch, explain: Callable[[Batch], Explanation]) -> Made:
    """The maps of a batch; where its images cannot be explained together, each alone, NaN for those that fail."""
    try:
        return of_explanation(explain(batch))
    except Exception as error:  # networks and methods are anyone's code
        reason = reason_of(error)
    if len(batch.images) == 1:
        nothing = torch.full(batch.mean_masks.shape, torch.nan)
        return Made({"heatmaps": nothing, "attributions": nothing}, missing={reason: 1})
    return _together([explained(batch.part([index], batch.classes), explain) for index in range(len(batch.images))])


def _together(each: Sequence[Made]) -> Made:
    missing: Counter[str] = Counter()
    for one in each:
        missing.update(one.missing or {})
    takes: tuple[Takes, ...] = ("heatmaps", "attributions")
    return Made({one: torch.cat([made.maps[one] for made in each]) for one in takes}, missing=missing)


def of_mean_masks(heatmaps: Tensor) -> Made:
    """The mean masks (P, *space), which have no sign."""
    return Made({"heatmaps": heatmaps, "attributions": heatmaps})


def of_explanation(found: Explanation) -> Made:
    """The maps of an explanation of one class an image."""
    maps = {takes: one[:, 0].cpu() for takes, one in maps_of(found, tuple(found.heatmaps.shape)).items()}
    lost = int((~maps["heatmaps"].flatten(1).isfinite().all(1)).sum())
    return Made(maps, replace(found, images=()), {NOT_FINITE: lost} if lost else None)


def _made_before(name: str, batch: Batch) -> Made:
    each: list[Maps] = []
    missing: Counter[str] = Counter()
    given = zip(batch.images, batch.classes.tolist(), batch.labels, batch.files, strict=True)
    for image, index, label, files in given:
        try:
            if name not in files:
                raise DataError(MISSING)
            each.append(read_map(files[name], image, index, label))
        except DataError as error:
            missing[str(error.args[0])] += 1
            nothing = torch.full(image.size, torch.nan)
            each.append({"heatmaps": nothing, "attributions": nothing})
    maps: Maps = {
        "heatmaps": torch.stack([one["heatmaps"] for one in each]),
        "attributions": torch.stack([one["attributions"] for one in each]),
    }
    return Made(maps, missing=missing)
