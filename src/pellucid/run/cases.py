"""The cases that metrics judge: pairs of an image and a class, their maps, and the model behind them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.core.head import HEADS, over_places
from pellucid.core.inputs import Inputs, chunks
from pellucid.core.metric import LayerOrder, Remade, Takes, Variant
from pellucid.core.space import mean_of
from pellucid.core.target import Targets
from pellucid.errors import OptionError
from pellucid.models.session.lazy import lazy
from pellucid.models.session.session import Session
from pellucid.run.explainer import Explainer
from pellucid.run.remade import Again, Remaker, rows


@dataclass(frozen=True, eq=False)
class Judged:
    """What is evaluated: B images, their maps, masks and targets, and the model.

    ``maps`` holds the maps (B, K, *space) by what metrics take, ``masks`` (B, K, *space) bool and ``has_mask`` (B, K).
    ``targets`` are resolved, to those of the clean images, whose raw outputs ``clean`` gives; ``indices`` (B, K) are
    their classes, −1 for a callable. ``explainer`` makes such maps of other images; None: not known.
    """

    session: Session
    inputs: Inputs
    targets: Targets
    clean: Callable[[], Tensor]
    indices: Tensor
    head: str
    maps: dict[Takes, Tensor]
    masks: Tensor
    has_mask: Tensor
    explainer: Callable[[], Explainer] | None
    seed: int

    @lazy
    def remaker(self) -> Remaker:
        """What makes such maps of other images, prepared once."""
        if self.explainer is None:
            raise OptionError(
                "this metric makes maps of changed images, and only maps were given: give method=, such as "
                "method='gradcam', or an Explanation"
            )
        return Remaker.of(self.explainer(), self.session, self.session.prepared(self.inputs[:1]))

    def cases(self, start: int, stop: int, takes: Takes) -> ImageCases:
        """The cases of images ``start`` to ``stop``, for a metric that takes such maps."""
        return ImageCases(self, start, stop, takes)


@dataclass(frozen=True, eq=False)
class ImageCases:
    """The ``Cases`` of a few images of what is evaluated: K cases for each, one image's after the other's."""

    judged: Judged
    start: int
    stop: int
    takes: Takes

    @property
    def _columns(self) -> int:
        return self.judged.has_mask.shape[1]

    @lazy
    def _inputs(self) -> Inputs:
        """The images themselves, on the model's device."""
        return self.judged.session.prepared(self.judged.inputs[self.start : self.stop])

    @lazy
    def _device(self) -> torch.device:
        return self._inputs.images.device

    @lazy
    def _owners(self) -> Tensor:
        """Each case's image, counted from ``start``, (P,)."""
        return torch.arange(self.stop - self.start, device=self._device).repeat_interleave(self._columns)

    @lazy
    def _classes(self) -> Tensor:
        """Each case's column, (P,)."""
        return torch.arange(self._columns, device=self._device).repeat(self.stop - self.start)

    @lazy
    def images(self) -> Tensor:
        """The model's input, (P, C, *space)."""
        images = self._inputs.images
        return images if self._columns == 1 else images[self._owners]

    @lazy
    def maps(self) -> Tensor:
        """The maps (P, *space) that the metric takes."""
        return self.judged.maps[self.takes][self.start : self.stop].flatten(0, 1).to(self._device)

    @lazy
    def masks(self) -> Tensor:
        """The masks, (P, *space) bool."""
        return self.judged.masks[self.start : self.stop].flatten(0, 1).to(self._device)

    @lazy
    def has_mask(self) -> Tensor:
        """Which cases have a mask, (P,) bool."""
        return self.judged.has_mask[self.start : self.stop].flatten().to(self._device)

    @lazy
    def numbers(self) -> Tensor:
        """Each case's number of all that are evaluated, (P,)."""
        return self.start * self._columns + torch.arange(len(self._owners), device=self._device)

    @lazy
    def classes(self) -> Tensor:
        """Each case's class, (P,); −1 for a callable."""
        return self.judged.indices[self.start : self.stop].flatten().to(self._device)

    @lazy
    def probabilities(self) -> Tensor:
        """The probability of each case's class, (P,)."""
        return self._scored(self._clean, self._owners, self._classes, logits=False)

    @lazy
    def logits(self) -> Tensor:
        """The explained score of each case, (P,)."""
        return self._scored(self._clean, self._owners, self._classes, logits=True)

    @lazy
    def outputs(self) -> Tensor:
        """All logits of each case's image, (P, classes)."""
        return over_places(self._clean).float()

    @property
    def directions(self) -> bool:
        """Whether classes are the directions of a regression head's values."""
        return self.judged.head == "regression"

    @lazy
    def _clean(self) -> Tensor:
        return self.judged.clean()[self.start : self.stop].to(self._device)[self._owners]

    def generator(self) -> torch.Generator:
        """Random numbers on the CPU: the same for every metric and every image."""
        return torch.Generator().manual_seed(self.judged.seed)

    def scores(self, count: int, variant: Variant, *, logits: bool = False) -> Tensor:
        """The scores (P, count) of changed copies of the images."""
        found = [
            self._scored(raw, self._owners[cases], self._classes[cases], logits)
            for cases, raw in self._passes(count, variant)
        ]
        return torch.cat(found).reshape(count, -1).T

    def _passes(self, count: int, variant: Variant) -> Iterator[tuple[Tensor, Tensor]]:
        """The cases (N,) and raw outputs of every copy, all cases of a step before the next step."""
        total = len(self._owners)
        for start, stop in chunks(count * total, self.judged.session.runtime.batch_size):
            numbers = torch.arange(start, stop, device=self._device)
            cases, steps = numbers % total, numbers // total
            with torch.no_grad():
                yield cases, self.judged.session.call(rows(self._inputs, self._owners[cases], variant(cases, steps)))

    def _scored(self, raw: Tensor, owners: Tensor, columns: Tensor, logits: bool) -> Tensor:
        """The score (N,) of each row of raw outputs: its case's class, as a probability or before the head.

        Of a Region, the mean of the probabilities at its positions. A callable's score is no probability.
        """
        targets = self._rows_of(owners)
        probabilities = HEADS[self.judged.head].probabilities
        scores = raw
        if not logits and probabilities is not None and not callable(targets.request):
            scores = probabilities(over_places(raw).float() if targets.within is None else raw.float())
        return targets.scores(scores).float().gather(1, columns[:, None])[:, 0]

    def remade(self, count: int, variant: Variant) -> Iterator[Remade]:
        """Changed copies of the images, explained again, one step after the other."""
        return self._again.copies(count, variant)

    def maps_of(self, count: int, variant: Variant) -> Iterator[Tensor]:
        """The maps (P, *space) of changed copies of the images, one step after the other."""
        return (one.maps for one in self.remade(count, variant))

    def maps_of_class(self, classes: Tensor) -> Tensor:
        """The maps (P, *space) of other classes of the same images."""
        return self._again.of_classes(classes)

    def maps_randomised(
        self, order: LayerOrder, count: int = 1, variant: Variant | None = None
    ) -> Iterator[tuple[str, Tensor]]:
        """The maps (P, *space) after the weights of layer after layer were replaced by random ones."""
        for name, again in self._again.randomised(order, self.judged.seed):
            yield name, mean_of(one.maps for one in again.copies(count, variant or self._unchanged))

    def _unchanged(self, cases: Tensor, _steps: Tensor) -> Tensor:
        return self._inputs.images[self._owners[cases]]

    @lazy
    def _again(self) -> Again:
        targets = self.judged.targets.images(self.start, self.stop)
        return Again(self.judged.remaker, self._inputs, targets, self._columns, self.takes)

    def _rows_of(self, owners: Tensor) -> Targets:
        """The targets of some images, which are numbered from ``start``."""
        return self.judged.targets.rows(owners + self.start)
