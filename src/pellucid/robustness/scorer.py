"""What each change does to the answers and maps of a few images."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from pellucid.core.image import Image
from pellucid.core.method import Method
from pellucid.core.metric import Comparison
from pellucid.errors import PellucidError, ShapeError
from pellucid.evaluation.scoring.failing import reason_of
from pellucid.evaluation.scoring.maps import Batch, explained
from pellucid.evaluation.scoring.network import Network
from pellucid.metrics.pointing import pointing_hits
from pellucid.robustness.likeness import Columns, is_empty, likeness, moved
from pellucid.robustness.steps import Given, Step
from pellucid.run.pixels import Pixels

AFTER, MOVED, CHANGE, EMPTY, HIT = "probability after", "moved", "probability change", "degenerate", "hit"
"""The columns of a step beside the comparisons; of maps before any change, ``EMPTY`` and ``HIT``."""


@dataclass(frozen=True, eq=False)
class Chunk:
    """P images of one size, the class (P,) that the model predicts of each, and the masks (P, *space) of that class.

    ``has_mask`` (P,); ``partners`` are images of other patients of the same class, None where there is none.
    """

    names: Sequence[str]
    images: Sequence[Image]
    classes: Tensor
    masks: Tensor
    has_mask: Tensor
    partners: Sequence[Image | None]
    seeds: Sequence[int]

    @property
    def values(self) -> Tensor:
        """The network's input, (P, C, *space)."""
        return torch.stack([one.values for one in self.images])


@dataclass(frozen=True, eq=False)
class Scorer:
    """Scores chunks of images: by each method the maps before, those of partners, and those after each step.

    ``classes`` is how many classes the network has, ``independent`` whether they do not exclude one another.
    """

    network: Network
    methods: Mapping[str, Method]
    steps: Sequence[Step]
    metrics: Mapping[str, Comparison]
    classes: int
    independent: bool
    layers: dict[str, Sequence[str]] = field(default_factory=dict)
    """The layers of each method, as they are found."""

    def record(self, chunk: Chunk) -> dict[str, Any]:
        """All values of a chunk: ``clean[method]`` and ``steps[method][number]`` hold columns (P,)."""
        given = Given(self._pixels(chunk), chunk.classes, chunk.seeds)
        missing: Counter[str] = Counter()
        before = self._probabilities(chunk.values)
        maps = {name: self._maps(name, chunk, chunk.values, missing) for name in self.methods}
        clean = {name: self._clean(name, chunk, maps[name], missing) for name in self.methods}
        steps: dict[str, list[Any]] = {name: [] for name in self.methods}
        for step in self.steps:
            shared: tuple[Tensor, Tensor] | None = None
            for name, method in self.methods.items():
                if not _can_be_searched(step, method):
                    steps[name].append(_plain(self._nothing(len(before))))
                    continue
                if shared is None or step.by_method:
                    shared = self._changed(step, given, method)
                values, after = shared
                own = self._after(name, chunk, step, values, maps[name], missing)
                steps[name].append(_plain({**self._answers(before, after, chunk.classes), **own}))
        return {"clean": clean, "steps": steps, "missing": dict(missing), "layers": self.layers}

    def try_attacks(self, chunk: Chunk) -> None:
        """Run each attack for one step on an image, so that what cannot be attacked is heard before any work.

        Raises:
            PellucidError: the network or a method cannot be attacked, or a budget is beyond the range.
        """
        given = Given(self._pixels(chunk), chunk.classes, chunk.seeds)
        for step in self.steps:
            if step.is_attack:
                searched = [one for one in self.methods.values() if _can_be_searched(step, one)]
                for method in searched if step.by_method else searched[:1]:
                    self._changed(step.shortened(), given, method)

    def _pixels(self, chunk: Chunk) -> Pixels:
        try:
            return Pixels.of(chunk.values, self.network.preprocessing)
        except ShapeError as error:
            names = ", ".join(chunk.names)
            raise ShapeError(f"{names}: {error}") from None

    def _changed(self, step: Step, given: Given, method: Method) -> tuple[Tensor, Tensor]:
        """The input for changed images, and the probabilities (P, C) for them."""
        try:
            values = step.images(given, self.network, method)
        except Exception as error:  # networks, methods and changes are anyone's code
            kind = type(error) if isinstance(error, PellucidError) else PellucidError
            raise kind(f"change {step.change!r} at {step.level:.4g}: {reason_of(error)}") from error
        return values, self._probabilities(values)

    def _probabilities(self, values: Tensor) -> Tensor:
        """The probabilities (P, C); where the network fails on images together, of each alone, NaN where it fails."""
        try:
            return self.network.predicted(values).probabilities.double()
        except Exception as error:  # as above
            reason_of(error)  # lack of memory ends the run
            if len(values) == 1:
                return torch.full((1, self.classes), torch.nan, dtype=torch.float64)
        return torch.cat([self._probabilities(one[None]) for one in values])

    def _maps(self, name: str, chunk: Chunk, values: Tensor, missing: Counter[str]) -> Tensor:
        """The heatmaps (P, *space) of a method; NaN where it fails."""
        explainer = self.network.explainer(self.methods[name])
        images = [replace(one, values=own) for one, own in zip(chunk.images, values, strict=True)]
        batch = Batch(images, chunk.classes, chunk.names, chunk.masks.float(), [{}] * len(images))
        found = explained(batch, lambda part: explainer(part.values, part.classes[:, None]))
        if found.explanation is not None:
            self.layers[name] = list(found.explanation.layers)
        missing.update({f"{reason} ({name})": count for reason, count in (found.missing or {}).items()})
        return found.maps["heatmaps"]

    def _clean(self, name: str, chunk: Chunk, maps: Tensor, missing: Counter[str]) -> dict[str, list[float | None]]:
        """The columns of maps before any change, and how much they are like those of partners."""
        having = [number for number, one in enumerate(chunk.partners) if one is not None]
        between: Columns = {label: torch.full((len(maps),), torch.nan, dtype=torch.float64) for label in self.metrics}
        if having:
            others = _part(chunk, having)
            found = self._maps(name, others, others.values, missing)
            everywhere = torch.ones(maps.shape[1:], dtype=torch.bool)
            for label, column in likeness(maps[having], found, everywhere, self.metrics).items():
                between[label][having] = column
        return _plain({EMPTY: is_empty(maps), HIT: self._hits(maps, chunk), **between})

    def _after(
        self, name: str, chunk: Chunk, step: Step, values: Tensor, before: Tensor, missing: Counter[str]
    ) -> Columns:
        """The columns of maps after a step."""
        visible = step.visible(before.shape[1:])
        maps = step.restored(self._maps(name, chunk, values, missing))
        alike = likeness(before, maps, visible, self.metrics)
        return {EMPTY: is_empty(maps), HIT: self._hits(maps * visible, chunk), **alike}

    def _nothing(self, count: int) -> Columns:
        """The columns of a step that a method has no values of."""
        names = (EMPTY, HIT, AFTER, CHANGE, MOVED, *self.metrics)
        return {name: torch.full((count,), torch.nan, dtype=torch.float64) for name in names}

    def _answers(self, before: Tensor, after: Tensor, classes: Tensor) -> Columns:
        first, last = (one.gather(1, classes[:, None])[:, 0] for one in (before, after))
        return {
            AFTER: last,
            CHANGE: (last - first).abs(),
            MOVED: moved(before, after, classes, self.independent),
        }

    def _hits(self, maps: Tensor, chunk: Chunk) -> Tensor:
        """Whether the peaks lie in the masks, (P,) 1 or 0; NaN without a mask, or where a map is not finite."""
        known = chunk.has_mask & maps.flatten(1).isfinite().all(1)
        return pointing_hits(maps, chunk.masks).double().where(known, torch.nan)


def _can_be_searched(step: Step, method: Method) -> bool:
    """Whether a step has images for a method: the map of a prior never asks the model, and has no slope."""
    return not step.by_method or method.made_from == "model"


def _part(chunk: Chunk, which: Sequence[int]) -> Chunk:
    """The partners of some of the images, as images of their own."""
    images = [one for one in (chunk.partners[number] for number in which) if one is not None]
    chosen = list(which)
    return replace(
        chunk,
        names=[chunk.names[number] for number in chosen],
        images=images,
        classes=chunk.classes[chosen],
        masks=chunk.masks[chosen],
        has_mask=chunk.has_mask[chosen],
        partners=[None] * len(chosen),
        seeds=[chunk.seeds[number] for number in chosen],
    )


def _plain(columns: Columns) -> dict[str, list[float | None]]:
    """Columns as JSON has them: seven digits, None where there is no value."""
    return {
        name: [float(f"{value:.7g}") if math.isfinite(value) else None for value in column.tolist()]
        for name, column in columns.items()
    }
