"""A model's inputs: a batch of images, or several tensors by name of which the first is explained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor

Images = Tensor | Mapping[str, Tensor]
"""A batch (B, C, *space), or a mapping of names to tensors of which the first is explained."""


def explained(images: Images) -> Tensor:
    """The tensor that is explained: the images, or the first of a mapping."""
    return next(iter(images.values())) if isinstance(images, Mapping) else images


def with_explained(images: Images, tensor: Tensor) -> Images:
    """The same inputs with another tensor as the explained one."""
    return {**images, next(iter(images)): tensor} if isinstance(images, Mapping) else tensor


def cut(images: Images, start: int, stop: int) -> Images:
    """Images ``start`` to ``stop``; of a mapping, every tensor is cut alike."""
    if isinstance(images, Mapping):
        return {name: tensor[start:stop] for name, tensor in images.items()}
    return images[start:stop]


def repeated(image: Images, count: int) -> Images:
    """One image, ``count`` times. Nothing is copied: do not write into it."""
    if isinstance(image, Mapping):
        return {name: tensor.expand(count, *tensor.shape[1:]) for name, tensor in image.items()}
    return image.expand(count, *image.shape[1:])


def cloned(images: Images) -> Images:
    """A copy of the images that a network may write into."""
    return {name: tensor.clone() for name, tensor in images.items()} if isinstance(images, Mapping) else images.clone()


def chunks(count: int, size: int) -> Iterator[tuple[int, int]]:
    """0 to ``count`` in runs of ``size``: the first and the stop of each."""
    for start in range(0, count, size):
        yield start, min(start + size, count)
