"""Maps made again by the same method: of changed images, of other classes, and of a model with random weights.

Layers, their places on the image and the network are prepared once. A batch that is explained again costs what the
method costs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from pellucid.core.explanation import Explanation
from pellucid.core.inputs import Inputs, chunks
from pellucid.core.metric import LayerOrder, Remade, Takes, Variant
from pellucid.core.target import Targets
from pellucid.models.discovery.parameters import owners, weighted_layers
from pellucid.models.session.randomised import learned, redrawn
from pellucid.models.session.session import Session
from pellucid.run.batching import explained
from pellucid.run.explainer import Explainer, facts_of
from pellucid.run.facts import Facts
from pellucid.run.judged_maps import form_of

ALL_LAYERS = "all layers"


@dataclass(frozen=True, eq=False)
class Remaker:
    """Makes maps as those that are judged were made, at the same layers, without any warning of the explanation's."""

    session: Session
    facts: Facts

    @classmethod
    def of(cls, explainer: Explainer, session: Session, image: Inputs) -> Remaker:
        """The method of an explainer in a session, for inputs like this image, which is prepared."""
        runtime = replace(session.runtime, seed=explainer.runtime.seed)
        return cls(replace(session, runtime=runtime), facts_of(explainer, session, image))

    def explained(self, inputs: Inputs, targets: Targets) -> Explanation:
        """The maps of some images, which may be many; the targets are resolved."""
        return explained(self.session, self.facts, inputs, targets)

    def randomised(self, image: Inputs, order: LayerOrder, seed: int) -> Iterator[tuple[str, Remaker]]:
        """The same method in networks with random weights in layer after layer, with the layers' names.

        Random weights of a layer are the same in every order. The model is left alone: the networks are twins of it
        that hold other tensors.
        """
        names = weighted_layers(self.session, image)
        drawn = _Weights(self.session.network, {name: seed * len(names) + n for n, name in enumerate(names)})
        changed: dict[int, Tensor] = {}
        for step in _STEPS[order](names):
            changed = drawn.of(step) | ({} if order == "independent" else changed)
            label = ALL_LAYERS if order == "all" else step[0] or ", ".join(learned(self.session.network))
            yield label, replace(self, session=self.session.with_tensors(changed))


@dataclass(frozen=True, eq=False)
class Again:
    """Maps of P pairs of an image and one of its K classes, made again: K pairs for each image, one after the other.

    ``inputs`` are the images as they are, prepared, and ``targets`` theirs, resolved. ``takes``: which maps a metric
    takes.
    """

    remaker: Remaker
    inputs: Inputs
    targets: Targets
    columns: int
    takes: Takes

    @property
    def _total(self) -> int:
        return len(self.inputs) * self.columns

    def copies(self, count: int, variant: Variant) -> Iterator[Remade]:
        """Changed copies of each image, one step after the other; several steps at once where a pass holds them."""
        device = self.inputs.images.device
        for start, stop in chunks(count, max(1, self.remaker.session.runtime.batch_size // self._total)):
            cases = torch.arange(self._total, device=device).repeat(stop - start)
            steps = torch.arange(start, stop, device=device).repeat_interleave(self._total)
            images = variant(cases, steps)
            each = (torch.split(one, self._total) for one in (images, *self._explained(cases, images)))
            yield from map(Remade, *each)

    def of_classes(self, classes: Tensor) -> Tensor:
        """The maps (P, *space) of other classes (P,) of the same images."""
        targets = replace(self.targets, request=classes.reshape(-1, self.columns))
        return self._maps(self.remaker.explained(self.inputs, targets)).flatten(0, 1)

    def randomised(self, order: LayerOrder, seed: int) -> Iterator[tuple[str, Again]]:
        """The same pairs in networks with random weights in layer after layer, with the layers' names."""
        for name, remaker in self.remaker.randomised(self.inputs[:1], order, seed):
            yield name, replace(self, remaker=remaker)

    def _explained(self, cases: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
        """The maps (N, *space) and all logits (N, classes) of other images for some pairs."""
        if self._are_alike(images):  # what is changed does not depend on the class: one pass for all of an image's
            owners = cases[:: self.columns] // self.columns
            given = rows(self.inputs, owners, images[:: self.columns])
            found = self.remaker.explained(given, self.targets.rows(owners))
            return self._maps(found).flatten(0, 1), found.logits.repeat_interleave(self.columns, 0)
        owners, own = cases // self.columns, (cases % self.columns)[:, None]
        targets = self.targets.rows(owners)
        if isinstance(targets.request, Tensor):
            targets = replace(targets, request=targets.request.gather(1, own))
        found = self.remaker.explained(rows(self.inputs, owners, images), targets)
        maps = self._maps(found)
        return maps[:, 0] if maps.shape[1] == 1 else maps[torch.arange(len(maps)), own[:, 0]], found.logits

    def _are_alike(self, images: Tensor) -> bool:
        """Whether the changed copies of an image are the same for all of its classes."""
        first = images[:: self.columns]
        return all(torch.equal(first, images[column :: self.columns]) for column in range(1, self.columns))

    def _maps(self, found: Explanation) -> Tensor:
        """An explanation's maps (N, K, *space), in the form that the metric takes."""
        return form_of(found, self.takes)


def rows(inputs: Inputs, owners: Tensor, images: Tensor) -> Inputs:
    """Other images (N, C, *space), each with the further inputs of its own image ``owners`` (N,)."""
    others = inputs if len(inputs.tensors) == 1 else inputs.map_each(lambda one: one[owners])
    return replace(others, tensors={**others.tensors, inputs.name: images.to(inputs.images.dtype)})


class _Weights:
    """Random weights of a network's layers, each drawn with a seed of its own."""

    def __init__(self, network: nn.Module, seeds: Mapping[str, int]) -> None:
        self._modules = dict(network.named_modules())
        self._owners = owners(network)
        self._seeds = seeds

    def of(self, names: Sequence[str]) -> dict[int, Tensor]:
        """The random weights of some layers by the ids of the present ones."""
        drawn = [(name, redrawn(self._modules[name], self._seeds[name] % 2**63)) for name in names]
        return {number: one for name, each in drawn for number, one in each.items() if self._owners[number] == name}


def _each(names: Sequence[str]) -> list[Sequence[str]]:
    return [[name] for name in names]


_STEPS: Mapping[LayerOrder, Callable[[Sequence[str]], list[Sequence[str]]]] = {
    "top_down": lambda names: _each(names)[::-1],
    "bottom_up": _each,
    "independent": _each,
    "all": lambda names: [names],
}
"""The layers that get random weights in each step, of the layers in the order in which a pass uses them."""
