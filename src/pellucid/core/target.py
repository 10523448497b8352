"""Which class scores are explained: what the user asked, and what it comes to once the logits are known."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pellucid.errors import TargetError, near

Request = str | int | Sequence[int | str] | Tensor | Callable[[Tensor], Tensor]
"""What a user may ask: "predicted", "all", an index, a class name, a list (one an image), a tensor (B,) or
(B, K), or a callable from logits to scores (B,) or (B, K)."""


@dataclass(frozen=True, eq=False)
class Targets:
    """The scores to explain, for the images of one batch; pure functions of the logits (B, C).

    ``first`` and ``stop`` choose a run of the K columns, so that many classes can be done in parts.
    """

    request: Request
    classes: tuple[str, ...] | None = None
    first: int = 0
    stop: int | None = None

    def images(self, start: int, stop: int) -> Targets:
        """The targets of images ``start`` to ``stop`` of the batch."""
        if isinstance(self.request, Tensor) or _is_list(self.request):
            return replace(self, request=self.request[start:stop])  # type: ignore[index]  # a tensor or a list
        return self

    def columns(self, first: int, stop: int) -> Targets:
        """The targets of the maps ``first`` to ``stop`` of each image."""
        return replace(self, first=first, stop=stop)

    def check_count(self, images: int) -> None:
        """Raise unless there is one target, or one row of them, an image."""
        if isinstance(self.request, Tensor) and (self.request.ndim == 0 or self.request.numel() == 0):
            raise TargetError(f"targets must be of shape (B,) or (B, K), got {tuple(self.request.shape)}")
        given = len(self.request) if isinstance(self.request, Tensor) or _is_list(self.request) else images  # type: ignore[arg-type]
        if given != images:
            raise TargetError(f"targets for {given} images were given; there are {images} images: give one an image")

    def indices(self, logits: Tensor) -> Tensor:
        """The classes that the maps explain, (B, K) int64; −1 where a callable says what is explained."""
        if callable(self.request):
            return torch.full(self._called(self.request, logits).shape, -1, device=logits.device)
        return self._named(logits)[:, self.first : self.stop]

    def scores(self, logits: Tensor) -> Tensor:
        """The scores to differentiate, (B, K)."""
        if callable(self.request):
            return self._called(self.request, logits)
        return logits.gather(1, self.indices(logits))

    def count(self, logits: Tensor) -> int:
        """How many maps an image gets, K."""
        return self.columns(0, _MANY).indices(logits).shape[1]

    def _called(self, request: Callable[[Tensor], Tensor], logits: Tensor) -> Tensor:
        scores = request(logits.clone())  # it may work in place
        if not isinstance(scores, Tensor):
            raise TargetError(f"a callable target must give a tensor of scores, got {type(scores).__name__}")
        scores = scores[:, None] if scores.ndim == 1 else scores
        if scores.ndim != 2 or scores.shape[0] != logits.shape[0] or scores.shape[1] == 0:
            asked = f"({logits.shape[0]},) or ({logits.shape[0]}, K)"
            raise TargetError(f"a callable target must give scores of shape {asked}, got {tuple(scores.shape)}")
        return scores[:, self.first : self.stop]

    def _named(self, logits: Tensor) -> Tensor:
        """All K classes of each image."""
        images, count = logits.shape
        if isinstance(self.request, str) and self.request == "predicted":
            return logits.argmax(dim=1, keepdim=True)
        if isinstance(self.request, str) and self.request == "all":
            return torch.arange(count, device=logits.device).expand(images, count)
        chosen = self._given(logits)
        wrong = chosen[(chosen < 0) | (chosen >= count)]
        if wrong.numel():
            raise TargetError(f"class {int(wrong[0])} was asked for; the model has {count} classes, 0 to {count - 1}")
        return chosen

    def _given(self, logits: Tensor) -> Tensor:
        request = self.request
        if isinstance(request, Tensor):
            if request.ndim not in (1, 2) or request.is_floating_point() or request.dtype == torch.bool:
                raise TargetError(
                    f"targets must be whole numbers of shape (B,) or (B, K), got {tuple(request.shape)} {request.dtype}"
                )
            # A copy: what was made under inference_mode cannot take part in a graph.
            return request.to(logits.device, torch.int64, copy=True).reshape(logits.shape[0], -1)
        if _is_list(request):
            return torch.tensor([[self._index(item)] for item in request], device=logits.device)  # type: ignore[union-attr]
        return torch.full((logits.shape[0], 1), self._index(request), device=logits.device)

    def _index(self, item: Any) -> int:
        """The index of one class, by number or name."""
        if isinstance(item, str):
            return self._index_of_name(item)
        if isinstance(item, bool) or not hasattr(item, "__index__"):
            raise TargetError(
                f"a target must be 'predicted', 'all', a class's number or name, got {type(item).__name__}"
            )
        index = operator.index(item)
        if abs(index) > _MANY:
            raise TargetError(f"class {index} was asked for; no model has that many")
        return index

    def _index_of_name(self, name: str) -> int:
        if self.classes is None:
            raise TargetError(f"class {name!r} was asked for by name; the model's names are not known: give classes=")
        found = [i for i, known in enumerate(self.classes) if known.casefold() == name.casefold()]
        if not found:
            raise TargetError(f"class {name!r} was asked for; the model does not have it{near(name, self.classes)}")
        if len(found) > 1:
            raise TargetError(f"class {name!r} was asked for; classes {found} all have that name: give the number")
        return found[0]


_MANY = 2**62


def _is_list(request: object) -> bool:
    return isinstance(request, Sequence) and not isinstance(request, str)
