"""Cases whose maps are functions of the image, for metrics that make maps again, and what they are compared by."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from pellucid.core.metric import Change, Comparison, Remade, Takes, Values


@dataclass(frozen=True)
class Cosine(Comparison):
    """A similarity of tests: the cosine of two attributions."""

    takes: ClassVar[Takes] = "attributions"
    unchanged_by: ClassVar[frozenset[Change]] = frozenset({"scale"})

    def update(self, a: Tensor, b: Tensor) -> Values:
        one, other = a.flatten(1).double(), b.flatten(1).double()
        product = (one * other).sum(1) / (one.norm(dim=1) * other.norm(dim=1))
        return Values(product, {"no direction": product.isnan()})


@dataclass(frozen=True)
class Functions:
    """P images (P, C, *space), their maps and logits as functions of images, and of the numbers of the cases."""

    images: Tensor
    method: Callable[[Tensor, Tensor], Tensor]
    network: Callable[[Tensor], Tensor]
    classes: Tensor
    layers: tuple[tuple[str, Callable[[Tensor, Tensor], Tensor]], ...] = ()
    of_class: Callable[[Tensor, Tensor], Tensor] | None = None
    at_once: int = 3
    directions: bool = False

    @property
    def numbers(self) -> Tensor:
        return torch.arange(len(self.images))

    @property
    def maps(self) -> Tensor:
        return self.method(self.images, self.numbers)

    @property
    def outputs(self) -> Tensor:
        return self.network(self.images)

    def generator(self) -> torch.Generator:
        return torch.Generator().manual_seed(0)

    def _copies(self, method, count, variant) -> Iterator[Remade]:
        for start in range(0, count, self.at_once):
            chosen = torch.arange(start, min(count, start + self.at_once))
            numbers = self.numbers.repeat(len(chosen))
            images = variant(numbers, chosen.repeat_interleave(len(self.images)))
            for step in range(len(chosen)):
                own = images[step * len(self.images) : (step + 1) * len(self.images)]
                yield Remade(own, method(own, self.numbers), self.network(own))

    def remade(self, count, variant) -> Iterator[Remade]:
        return self._copies(self.method, count, variant)

    def maps_of(self, count, variant) -> Iterator[Tensor]:
        return (one.maps for one in self.remade(count, variant))

    def maps_of_class(self, classes: Tensor) -> Tensor:
        return self.of_class(self.images, classes)

    def maps_randomised(self, order, count=1, variant=None) -> Iterator[tuple[str, Tensor]]:
        variant = variant or (lambda numbers, _: self.images[numbers])
        chosen = self.layers[-1:] if order == "all" else self.layers
        for name, method in chosen:
            yield name, torch.stack([one.maps for one in self._copies(method, count, variant)]).mean(0)
