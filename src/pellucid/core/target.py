"""``Targets``: which class scores are explained, and their values once the logits are known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pellucid.core.class_names import class_index, class_number
from pellucid.core.default_device import as_called
from pellucid.core.head import DIRECTIONS, over_places
from pellucid.core.region import Region, mean_at, where_predicted
from pellucid.errors import TargetError, message_of


def _same(scores: Tensor) -> Tensor:
    return scores


@dataclass(frozen=True)
class SameClasses:
    """Several classes, the same for every image: numbers, names or "predicted". The command line makes it."""

    requests: tuple[str | int, ...]


Request = str | int | Sequence[int | str] | Tensor | Callable[[Tensor], Tensor] | Region | SameClasses
"""What a user may ask for: "predicted", "all", an index, a class name, a list (one for each image), a tensor (B,) or
(B, K), a callable from what the model returns to scores (B,) or (B, K), or a ``Region``."""


@dataclass(frozen=True, eq=False)
class Targets:
    """The scores to explain, for the images of one batch; pure functions of the logits (B, C) or (B, C, *space).

    For a map of logits, a class's score is the mean over all positions, or over those of a ``Region``.
    ``first`` and ``stop`` select a chunk of the K columns, so that many classes can be explained one chunk at a time.
    ``head`` decides which class counts as predicted; ``size`` is the input's. ``returned`` makes of class scores what
    the model returns, which is what a callable gets. A Region is split into its class, the ``request``, and itself,
    ``within``.
    """

    request: Request
    classes: tuple[str, ...] | None = None
    first: int = 0
    stop: int | None = None
    head: str = "softmax"
    size: tuple[int, ...] | None = None
    within: Region | None = None
    returned: Callable[[Tensor], Tensor] = _same

    def __post_init__(self) -> None:
        """Split a Region."""
        if isinstance(self.request, Region):
            object.__setattr__(self, "within", self.request)
            object.__setattr__(self, "request", self.request.class_)

    @property
    def is_of_numbers(self) -> bool:
        """Whether classes of the whole image are given by number, which no output has to tell."""
        return isinstance(self.request, Tensor) and self.within is None

    def fitted(self, images: int, size: Sequence[int]) -> Targets:
        """The same targets checked for a number of images and their size; raises where the counts differ.

        A Region's mask then has an axis for the images.
        """
        self.check_count(images)
        within = None if self.within is None else self.within.fitted(images, size)
        return replace(self, size=tuple(size), within=within)

    def images(self, start: int, stop: int) -> Targets:
        """The targets of images ``start`` to ``stop`` of the batch; fitted or resolved before."""
        listed = self.request[start:stop] if _is_list(self.request) else self.request  # type: ignore[index]  # a list
        return replace(self, request=listed)._changed(lambda values: values[start:stop])

    def rows(self, numbers: Tensor) -> Targets:
        """Resolved targets for variants of images ``numbers`` (N,) of the batch, in that order."""
        return self._changed(lambda values: values[numbers.to(values.device)])

    def columns(self, first: int, stop: int) -> Targets:
        """The targets of the maps ``first`` to ``stop`` of each image."""
        return replace(self, first=first, stop=stop)

    def resolved(self, logits: Tensor) -> Targets:
        """The same targets for changed images: classes and positions are fixed to those of these logits."""
        within = self.within
        if within is not None:
            within = replace(within, mask=self._positions(within, logits))
        request = self.request if callable(self.request) else self._named(over_places(logits))
        return replace(self, request=request, within=within)

    def repeated(self, count: int) -> Targets:
        """Resolved targets of one image, for ``count`` variants of it."""
        return self._changed(lambda values: values.expand(count, *values.shape[1:]))

    def mirrored(self) -> Targets:
        """Resolved targets for the images flipped along their last axis."""
        within = None if self.within is None else self.within.changed(lambda mask: mask.flip(-1))
        return replace(self, within=within)

    def _changed(self, change: Callable[[Tensor], Tensor]) -> Targets:
        """The same targets with what they hold for each image changed: the classes, and the masks of a Region."""
        request = change(self.request) if isinstance(self.request, Tensor) else self.request
        within = None if self.within is None else self.within.changed(change)
        return replace(self, request=request, within=within)

    def scored_by(self, request: Callable[[Tensor], Tensor]) -> Targets:
        """Other scores: a callable of the classes' scores (B, C) at the same positions."""
        return replace(self, request=request, first=0, stop=None, returned=_same)

    def check_count(self, images: int) -> None:
        """Raise unless there is one target, or one row of targets, for each image."""
        if isinstance(self.request, Tensor) and (self.request.ndim == 0 or self.request.numel() == 0):
            raise TargetError(f"targets must be of shape (B,) or (B, K), got {tuple(self.request.shape)}")
        given = len(self.request) if isinstance(self.request, Tensor) or _is_list(self.request) else images  # type: ignore[arg-type]
        if given != images:
            raise TargetError(f"targets for {given} images were given; there are {images} images: give one an image")

    def indices(self, logits: Tensor) -> Tensor:
        """The classes that the maps explain, (B, K) int64; −1 for a callable."""
        if self.within is not None and logits.ndim == 2:
            raise TargetError(
                "a Region was asked for; the model gives one score a class, and no map of them: "
                "give the class's number or name"
            )
        if callable(self.request):
            scores = self._called(self.request, self._everywhere(logits))
            return torch.full(scores.shape, -1, device=logits.device)
        return self._named(over_places(logits))[:, self.first : self.stop]

    def scores(self, logits: Tensor) -> Tensor:
        """The scores to differentiate, (B, K)."""
        if callable(self.request):
            return self._called(self.request, self._everywhere(logits))
        indices = self.indices(logits)
        if self.within is None:
            return over_places(logits).gather(1, indices)
        chosen = indices.reshape(*indices.shape, *(1,) * (logits.ndim - 2)).expand(-1, -1, *logits.shape[2:])
        return mean_at(logits.gather(1, chosen), self._positions(self.within, logits))

    def count(self, logits: Tensor) -> int:
        """The number of maps for each image, K."""
        return replace(self, first=0, stop=None).indices(logits).shape[1]

    def _everywhere(self, logits: Tensor) -> Tensor:
        """The score of every class, (B, C)."""
        return over_places(logits) if self.within is None else mean_at(logits, self._positions(self.within, logits))

    def _positions(self, region: Region, logits: Tensor) -> Tensor:
        """The positions of a region on the map of logits, (B, *space) bool."""
        if region.mask is not None:
            return region.positions(logits, self.size)
        return where_predicted(logits, self._index(region.class_), self.head)

    def _called(self, request: Callable[[Tensor], Tensor], logits: Tensor) -> Tensor:
        logits = self.returned(logits)
        try:
            with as_called():
                scores = request(logits.clone())  # it may work in place
        except Exception as error:  # the user's own code
            raise TargetError(
                f"the callable target failed on the model's output {tuple(logits.shape)}: {type(error).__name__}: "
                f"{message_of(error)}"
            ) from error
        if not isinstance(scores, Tensor):
            raise TargetError(f"a callable target must return a tensor of scores, got {type(scores).__name__}")
        scores = scores[:, None] if scores.ndim == 1 else scores
        if scores.ndim != 2 or scores.shape[0] != logits.shape[0] or scores.shape[1] == 0:
            asked = f"({logits.shape[0]},) or ({logits.shape[0]}, K)"
            raise TargetError(f"a callable target must return scores of shape {asked}, got {tuple(scores.shape)}")
        return scores[:, self.first : self.stop]

    def _named(self, logits: Tensor) -> Tensor:
        """All K classes of each image."""
        images, count = logits.shape
        if isinstance(self.request, str) and self.request == "predicted":
            return self._predicted(logits)
        if isinstance(self.request, str) and self.request == "all":
            return torch.arange(count, device=logits.device).expand(images, count)
        if isinstance(self.request, SameClasses):
            return torch.cat([replace(self, request=one)._named(logits) for one in self.request.requests], dim=1)
        chosen = self._given(logits)
        wrong = chosen[(chosen < 0) | (chosen >= count)]
        if wrong.numel():
            raise TargetError(f"class {int(wrong[0])} was asked for; the model has {count} classes, 0 to {count - 1}")
        return chosen

    def _predicted(self, logits: Tensor) -> Tensor:
        """The class with the largest logit; of a value, what is evidence for a higher one."""
        if self.head != "regression":
            return logits.argmax(dim=1, keepdim=True)
        if logits.shape[1] != len(DIRECTIONS):
            raise TargetError(
                f"target 'predicted' was asked for; the model gives {logits.shape[1] // len(DIRECTIONS)} values, none "
                "of which is predicted: give the name or number of one, or targets='all'"
            )
        return torch.full((len(logits), 1), DIRECTIONS.index("higher"), device=logits.device)

    def _given(self, logits: Tensor) -> Tensor:
        request = self.request
        if isinstance(request, Tensor):
            if request.ndim not in (1, 2) or request.is_floating_point() or request.dtype == torch.bool:
                raise TargetError(
                    f"targets must be whole numbers of shape (B,) or (B, K), got {tuple(request.shape)} {request.dtype}"
                )
            # A copy: a tensor made under inference_mode cannot be part of a graph.
            return request.to(logits.device, torch.int64, copy=True).reshape(logits.shape[0], -1)
        if _is_list(request):
            return torch.tensor([[self._index(item)] for item in request], device=logits.device)  # type: ignore[union-attr]
        return torch.full((logits.shape[0], 1), self._index(request), device=logits.device)

    def _index(self, item: Any) -> int:
        """The index of one class, by number or name."""
        if isinstance(item, str):
            return class_index(item, self.classes, self.head)
        if isinstance(item, Region):
            raise TargetError("a Region was given in a list; give one Region, with a mask (B, *space)")
        return class_number(item)


def _is_list(request: object) -> bool:
    return isinstance(request, Sequence) and not isinstance(request, str)
