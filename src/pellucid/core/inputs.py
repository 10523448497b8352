"""A model's inputs: a batch of images, or several tensors by name of which the first is explained."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor

Images = Tensor | Mapping[str, Tensor]
"""What a caller may give: a batch (B, C, *space), or a mapping of names to tensors of which the first is explained."""
Form = Literal["images", "sequence", "stack"]
"""How a network takes the explained tensor: as (B, C, *space), or S images as (B, S, C, H, W) or (B, S, H, W)."""


def _same(images: Tensor) -> Tensor:
    return images


def _turned(images: Tensor) -> Tensor:
    return images.transpose(1, 2)


_HELD: Mapping[Form, Callable[[Tensor], Tensor]] = {
    "images": _same,
    "sequence": _turned,
    "stack": lambda images: images.unsqueeze(1),
}
_GIVEN: Mapping[Form, Callable[[Tensor], Tensor]] = {
    "images": _same,
    "sequence": _turned,
    "stack": lambda images: images.squeeze(1),
}


@dataclass(frozen=True, eq=False)
class Inputs:
    """What a network is called with: the images that are explained, and further tensors.

    ``tensors`` maps argument names to tensors whose first axis is the batch; the first one is explained. A batch that
    is given by position has the name "". Those named in ``shared`` belong to all images, such as the prompts of a
    model of images and texts, and are never cut or repeated. Nothing is copied unless a method says so.

    A sequence or set of S images is held like a volume of S slices, (B, C, S, H, W), and given to the network as it
    takes it: (B, S, C, H, W), or a stack (B, S, H, W).
    """

    tensors: Mapping[str, Tensor]
    shared: frozenset[str] = frozenset()
    form: Form = "images"

    @classmethod
    def of(cls, images: Images | Inputs) -> Inputs:
        """Inputs from what a caller gives."""
        if isinstance(images, Inputs):
            return images
        return cls(dict(images) if isinstance(images, Mapping) else {"": images})

    @property
    def name(self) -> str:
        """The argument name of the explained tensor; "" where it is given by position."""
        return next(iter(self.tensors))

    @property
    def images(self) -> Tensor:
        """The explained tensor, (B, C, *space)."""
        return self.tensors[self.name]

    @property
    def given(self) -> Tensor:
        """The explained tensor as the network takes it: a sequence as (B, S, C, H, W) or (B, S, H, W)."""
        return _GIVEN[self.form](self.images)

    @property
    def is_sequence(self) -> bool:
        """Whether the first of the images' axes of space counts images."""
        return self.form != "images"

    def in_form(self, form: Form) -> Inputs:
        """Inputs as a caller gives them, with the explained tensor as it is held here."""
        return replace(self, tensors={**self.tensors, self.name: _HELD[form](self.images)}, form=form)

    @property
    def positional(self) -> tuple[Tensor, ...]:
        """The arguments by position."""
        return tuple(tensor for name, tensor in self._given().items() if not name)

    @property
    def named(self) -> dict[str, Tensor]:
        """The arguments by name."""
        return {name: tensor for name, tensor in self._given().items() if name}

    def _given(self) -> Mapping[str, Tensor]:
        """The tensors as the network takes them."""
        return self.tensors if self.form == "images" else {**self.tensors, self.name: self.given}

    def __len__(self) -> int:
        """The number of images, B."""
        return len(self.images)

    def __getitem__(self, chosen: slice) -> Inputs:
        """Some images of the batch; every tensor that is not shared is cut alike."""
        return self.map_each(lambda tensor: tensor[chosen])

    def map(self, change: Callable[[Tensor], Tensor]) -> Inputs:
        """The same inputs with each tensor changed."""
        return replace(self, tensors={name: change(tensor) for name, tensor in self.tensors.items()})

    def map_each(self, change: Callable[[Tensor], Tensor]) -> Inputs:
        """The same inputs with each tensor changed that has an entry for each image."""
        found = {name: one if name in self.shared else change(one) for name, one in self.tensors.items()}
        return replace(self, tensors=found)

    def with_images(self, images: Tensor) -> Inputs:
        """The same inputs with other images, (N, C, *space); one image's further tensors are repeated N times."""
        count = len(images)
        others = self if count == len(self) or len(self) != 1 else self.repeated(count)
        return replace(self, tensors={**others.tensors, self.name: images})

    def repeated(self, count: int) -> Inputs:
        """One image, ``count`` times. Nothing is copied: do not write into it."""
        return self.map_each(lambda tensor: tensor.expand(count, *tensor.shape[1:]))

    def cloned(self) -> Inputs:
        """A copy that a network may write into."""
        return self.map(lambda tensor: tensor.clone())


def chunks(count: int, size: int) -> Iterator[tuple[int, int]]:
    """0 to ``count`` in chunks of ``size``: the start and the stop of each."""
    for start in range(0, count, size):
        yield start, min(start + size, count)
