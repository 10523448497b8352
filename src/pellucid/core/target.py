"""``Targets`` and ``Region``: which class scores are explained, and their values once the logits are known."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pellucid.core.habits import class_of
from pellucid.core.head import DIRECTIONS, over_places
from pellucid.errors import TargetError, did_you_mean, message_of

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class Region:
    """The target for a network that outputs a map of logits (B, C, *space): one class, within a region.

    Its score is the mean of the class's logit over ``mask``, a bool tensor or array (*space) or (B, *space) at the
    input's or the map's size (resized to the map's by nearest neighbour). None stands for the positions where the
    network predicts the class in the unchanged image: its logit is the largest, or above 0 for sigmoid heads and for a
    single class. Where there is no such position, the explanation's map is empty. ``class_``: a number or a name.

    Raises:
        TargetError: the mask is not of dtype bool, or the class is neither a number nor a name.
    """

    class_: int | str
    mask: Tensor | npt.NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        """Refuse values that are no mask or no class."""
        if not isinstance(self.class_, str):
            _number(self.class_)
        kind = getattr(self.mask, "dtype", type(self.mask).__name__)
        if self.mask is not None and str(kind) not in ("torch.bool", "bool"):
            raise TargetError(f"a Region's mask must be a bool tensor or array, got {kind}: write mask > 0, say")


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
        within, rank = self.within, len(size)
        if within is not None and within.mask is not None:
            mask = _tensor(within.mask)
            if mask.ndim not in (rank, rank + 1) or (mask.ndim > rank and len(mask) != images):
                raise TargetError(
                    f"a Region's mask must be of shape {tuple(size)}, or {(images, *size)} with one for each image, "
                    f"got {tuple(mask.shape)}"
                )
            within = replace(within, mask=mask.expand(images, *mask.shape[-rank:]))
        return replace(self, size=tuple(size), within=within)

    def images(self, start: int, stop: int) -> Targets:
        """The targets of images ``start`` to ``stop`` of the batch; fitted or resolved before."""
        within = self.within
        if within is not None and within.mask is not None:
            within = replace(within, mask=within.mask[start:stop])
        request = self.request
        if isinstance(request, Tensor) or _is_list(request):
            request = request[start:stop]  # type: ignore[index]  # a tensor or a list
        return replace(self, request=request, within=within)

    def rows(self, numbers: Tensor) -> Targets:
        """Resolved targets for variants of images ``numbers`` (N,) of the batch, in that order."""
        within, request = self.within, self.request
        if within is not None and within.mask is not None:
            mask = within.mask
            within = replace(within, mask=mask[numbers.to(mask.device)])
        if isinstance(request, Tensor):
            request = request[numbers.to(request.device)]
        return replace(self, request=request, within=within)

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
        within = self.within
        if within is not None and within.mask is not None:
            within = replace(within, mask=within.mask.expand(count, *within.mask.shape[1:]))  # type: ignore[union-attr]  # resolved
        request = self.request.expand(count, -1) if isinstance(self.request, Tensor) else self.request
        return replace(self, request=request, within=within)

    def mirrored(self) -> Targets:
        """Resolved targets for the images flipped along their last axis."""
        within = self.within
        if within is None or within.mask is None:
            return self
        return replace(self, within=replace(within, mask=within.mask.flip(-1)))  # type: ignore[union-attr]  # resolved

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
        return self._mean(logits.gather(1, chosen), self._positions(self.within, logits))

    def count(self, logits: Tensor) -> int:
        """The number of maps for each image, K."""
        return self.columns(0, _MANY).indices(logits).shape[1]

    def _everywhere(self, logits: Tensor) -> Tensor:
        """The score of every class, (B, C)."""
        return over_places(logits) if self.within is None else self._mean(logits, self._positions(self.within, logits))

    @staticmethod
    def _mean(logits: Tensor, positions: Tensor) -> Tensor:
        """The mean of logits (B, K, *space) over positions (B, *space); without any, 0 with zero gradients."""
        kept = torch.where(positions[:, None], logits, torch.zeros_like(logits)).flatten(2).sum(dim=2)
        return kept / positions.flatten(1).sum(dim=1, keepdim=True).clamp(min=1)

    def _positions(self, region: Region, logits: Tensor) -> Tensor:
        """The positions of a region on the map of logits, (B, *space) bool."""
        if region.mask is not None:
            # A copy: a tensor made under inference_mode cannot be part of a graph.
            return self._resized(_tensor(region.mask).to(logits.device, copy=True), logits)
        index = self._index(region.class_)
        if self.head == "sigmoid" or logits.shape[1] == 1:
            return logits[:, index] > 0
        return logits.argmax(dim=1) == index

    def _resized(self, mask: Tensor, logits: Tensor) -> Tensor:
        """A mask (*space) or (B, *space), resized to the map of logits: (B, *space)."""
        size = tuple(logits.shape[2:])
        mask = mask.expand(len(logits), *mask.shape) if mask.ndim == len(size) else mask
        if tuple(mask.shape[1:]) == size:
            return mask
        if self.size is None or tuple(mask.shape[1:]) != self.size:
            sizes = " or ".join(str(one) for one in dict.fromkeys(filter(None, (self.size, size))))
            raise TargetError(f"a Region's mask must have the size {sizes}, got {tuple(mask.shape[1:])}")
        resized = F.interpolate(mask[:, None].float(), size, mode="nearest-exact")[:, 0] > 0
        if (mask.flatten(1).any(dim=1) & ~resized.flatten(1).any(dim=1)).any():
            raise TargetError(f"a Region's mask has no position left at the map's size {size}: give one of that size")
        return resized

    def _called(self, request: Callable[[Tensor], Tensor], logits: Tensor) -> Tensor:
        logits = self.returned(logits)
        try:
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
            return self._index_of_name(item)
        return _number(item)

    def _index_of_name(self, name: str) -> int:
        if self.classes is None:
            raise TargetError(
                f"class {name!r} was asked for by name; the model's names are not known: give classes=[…]"
            )
        found = classes_named(name, self.classes)
        if not found and self.head == "regression":  # a direction alone, where there is one value
            found = [i for i, known in enumerate(self.classes) if _key(known).startswith(f"{_key(name)} ")]
        if not found:
            raise TargetError(
                f"class {name!r} was asked for; the model does not have it{did_you_mean(name, self.classes)}"
            )
        if len(found) > 1:
            raise TargetError(f"class {name!r} was asked for; classes {found} all have that name: give the number")
        return found[0]


def classes_named(name: str, classes: Sequence[str]) -> list[int]:
    """The numbers of the classes of a name; case, and an underscore for a space, do not count.

    A class may have several names, with commas between them: "tench, Tinca tinca" is found by each.
    """
    keys, asked = [_key(known) for known in classes], _key(name)
    found = [index for index, key in enumerate(keys) if key == asked]
    return found or [index for index, key in enumerate(keys) if asked in map(str.strip, key.split(","))]


def _key(name: str) -> str:
    return " ".join(name.replace("_", " ").casefold().split())


_MANY = 2**62


def _number(item: Any) -> int:
    if isinstance(item, Region):
        raise TargetError("a Region was given in a list; give one Region, with a mask (B, *space)")
    if callable(item) and not isinstance(item, type):
        raise TargetError(f"a list with a {type(item).__name__} was given; {_instead_of(item)}")
    if isinstance(item, bool) or not hasattr(item, "__index__"):
        raise TargetError(f"a target must be 'predicted', 'all', a class's number or name, got {type(item).__name__}")
    index = operator.index(item)
    if abs(index) > _MANY:
        raise TargetError(f"class {index} was asked for; no model has that many")
    return index


def _instead_of(target: Any) -> str:
    """What to write for a callable in a list of classes: pytorch-grad-cam's targets have their class."""
    if hasattr(target, "category"):
        return f"write the class itself: targets=[{class_of(target)}]"
    return "give one callable for all images, from what the model returns, (B, C), to scores (B,) or (B, K)"


def _tensor(mask: Any) -> Tensor:
    # Not as_tensor, which warns about read-only arrays.
    return mask if isinstance(mask, Tensor) else torch.tensor(mask)


def _is_list(request: object) -> bool:
    return isinstance(request, Sequence) and not isinstance(request, str)
