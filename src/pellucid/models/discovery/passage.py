"""Proof of passage: how much of the score goes through a layer, measured by holding its output.

The layer's output is held at that of a reference image, while the network looks at another image x. Where the score
then stays that of the reference, all of it passes through the layer; where it follows x, it goes by other ways::

    share = 1 − Σ (s(x | A(ref)) − s(ref))² / Σ (s(x) − s(ref))²

summed over pairs of images and over the classes, before dividing. The images are generated (``scenes``), and the
reference is a scene without its details: what a layer is then found to carry is what it carries of photographs and
radiographs. It is a condition and no grade: the first convolution of a network has a share of 1, too.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.core.head import over_places
from pellucid.core.inputs import Inputs, chunks
from pellucid.errors import PellucidError
from pellucid.models.discovery.places import places_of
from pellucid.models.discovery.profile import Place
from pellucid.models.discovery.recording import profile_of
from pellucid.models.discovery.scenes import scenes, without_details
from pellucid.models.session.cache import remembered_while
from pellucid.models.session.hooks import first_tensor, noted, replaced
from pellucid.models.session.session import Session

ENOUGH = 0.9
"""The share from which on the score counts as passing through a layer."""
PAIRS = 6
"""The number of scenes, each of which is a pair with the reference."""
_LEAST_CHANGE = 1e-4
"""Scores that differ by less than this fraction of their size between images measure nothing."""
_MOST_VALUES = 2**18
"""The most values in the images of a pass, where it takes several."""
_MOST_OUTPUTS = 2**25
"""The most values of the reference's outputs that are kept at a time, where they are those of many layers."""
_BLURS = (1, 2, 3, 4, 6, 8)
"""The areas an axis of the blurs that an image is compared with: as many as there are pairs."""
Group = tuple[str, ...]
"""Layers that are held together."""


def share(session: Session, image: Inputs, group: Group) -> float | None:
    """The share of some layers together, from 0 to 1; None where it cannot be measured.

    It is measured once for a model, its parameters and an input shape, at 13 forward passes of one image.
    """
    known = _known(session, image)
    if group not in known:
        known[group] = Passage.of(session, image, group).share(group)
    return known[group]


def _known(session: Session, image: Inputs) -> dict[Group, float | None]:
    """The shares that were measured with the model's present parameters, by the layers."""
    return remembered_while(session.model, ("share", session.key(image)), session.weights, dict)


@dataclass(frozen=True)
class Passage:
    """The scores of scenes and of the reference, and the reference's outputs of each run of each layer.

    ``scores`` is empty where the network does not take such images. ``distances`` are what was measured of each group:
    how far the scores of each scene, with the group held, are from the reference's (NaN: the network failed).
    """

    session: Session
    image: Inputs
    places: dict[str, tuple[Place, ...]]
    scores: Tensor
    reference: Tensor
    outputs: dict[str, Tensor]
    known: dict[Group, float | None]
    distances: dict[Group, dict[int, float]]

    @classmethod
    def of(cls, session: Session, image: Inputs, layers: Sequence[str]) -> Passage:
        """What is to be known of a network before shares of some of its layers are measured."""
        scores = torch.empty(0)
        with torch.no_grad(), suppress(Exception):
            drawn = chunks(PAIRS, _at_once(session, image))
            scores = torch.cat([_scores(session, _drawn(image, range(start, stop))) for start, stop in drawn])
        return cls(session, image[:1], {}, scores, scores[:1], {}, _known(session, image), {}).at(layers)

    def at(self, layers: Sequence[str]) -> Passage:
        """The same scenes with the reference's outputs at these layers; a pass where they are not there already."""
        if all(layer in self.places for layer in layers):
            return self
        places = {layer: _places(self.session, self.image, layer) for layer in layers}
        runs = [place.occurrence.captured for layer in layers for place in places[layer]]
        reference, scores = self.reference, torch.empty(0)
        plain = self.image.with_images(without_details(scenes([0], self.image.images)))
        outputs: dict[str, Tensor] = {}
        with torch.no_grad(), suppress(Exception):
            with noted(self.session.modules(runs), graph=False) as outputs:
                reference = _scores(self.session, plain)
            scores = self.scores
        return replace(self, places=places, reference=reference, scores=scores, outputs=outputs)

    def at_all(self, layers: Sequence[str]) -> Passage:
        """The same scenes with the reference's outputs at all of some layers; as it is if they take much memory."""
        runs = profile_of(self.session, self.image).runs
        values = sum(math.prod(run.shape) for layer in layers for run in runs[layer])
        return self.at(layers) if values <= _MOST_OUTPUTS else self

    def share(self, group: Group) -> float | None:
        """The share of a group of layers; None where it cannot be measured."""
        if group not in self.known:
            self.known[group] = self.estimate(group, PAIRS)
        return self.known[group]

    def estimate(self, group: Group, pairs: int, least: float = 0.0) -> float | None:
        """The share by the first pairs; an upper bound where that is below ``least`` before all are measured."""
        if not self._moves(pairs) or not self._holds(group):
            return None
        moved = (self.scores[:pairs] - self.reference).square().sum(dim=1).tolist()
        known = self.distances.setdefault(group, {})
        left = sorted({*range(pairs)} - {*known}, key=lambda number: -moved[number])
        share = _share(known, moved)
        for start, stop in chunks(len(left), 1 if least else _at_once(self.session, self.image)):
            if share < least:
                break
            known.update(zip(left[start:stop], self._held(group, left[start:stop]), strict=True))
            share = _share(known, moved)
        return max(0.0, share) if math.isfinite(share) else None

    def _moves(self, pairs: int) -> bool:
        """Whether the scores of the first pairs differ enough to measure by."""
        scores = self.scores[:pairs]
        if not len(scores):
            return False
        least = pairs * (_LEAST_CHANGE * scores.abs().amax()) ** 2
        return bool((scores - self.reference).square().sum() > least)

    def _holds(self, group: Group) -> bool:
        """Whether a group's outputs are known for the reference."""
        places = [place for layer in group for place in self.places[layer]]
        return bool(places) and all(place.occurrence.captured in self.outputs for place in places)

    def _held(self, group: Group, numbers: Sequence[int]) -> list[float]:
        """The distances of scenes, with a group's outputs held at those of the reference."""
        with torch.no_grad(), suppress(Exception):
            with _held_at(self.session, {layer: self.places[layer] for layer in group}, self.outputs):
                held = _scores(self.session, _drawn(self.image, numbers))
            return [float(distance) for distance in (held - self.reference).square().sum(dim=1)]
        return [math.nan] * len(numbers)


def share_of_image(
    session: Session, image: Inputs, places: Sequence[Place], score: Callable[[Tensor], Tensor], plain: Tensor
) -> Tensor:
    """The share of some layers in each of one image's own scores, (K,); NaN where it cannot be measured.

    The pairs are the image, whose scores are ``plain`` (K,), and its own blurs. ``score`` makes scores (N, K) of what
    the network gives, (N, …). It takes 12 forward passes of the image.
    """
    layers = tuple(dict.fromkeys(place.occurrence.layer for place in places))
    runs = [place.occurrence.captured for place in places]
    own = {layer: [place for place in places if place.occurrence.layer == layer] for layer in layers}
    blurs = [without_details(image.images, areas) for areas in _BLURS]
    held, references = [], []
    with torch.no_grad(), suppress(Exception):  # of a network that does not take the blurs
        for start, stop in chunks(len(blurs), _at_once(session, image)):
            with noted(session.modules(runs), graph=False) as outputs:
                references.append(score(session.call(image.with_images(torch.cat(blurs[start:stop])))))
            with _held_at(session, own, outputs):
                again = image.images.expand(stop - start, *image.images.shape[1:])
                held.append(score(session.call(image.with_images(again))))
    if sum(map(len, held)) < len(blurs):
        return torch.full_like(plain, torch.nan, dtype=torch.float32)
    reference = torch.cat(references).double()
    moved = (plain.double() - reference).square().sum(dim=0)
    least = len(blurs) * (_LEAST_CHANGE * torch.maximum(plain.double().abs(), reference.abs().amax(dim=0))) ** 2
    share = 1 - (torch.cat(held).double() - reference).square().sum(dim=0) / moved
    return torch.where(moved > least, share.clamp(min=0), torch.nan).float()


def _share(distances: Mapping[int, float], moved: Sequence[float]) -> float:
    """The share by as many pairs as moved the scores so far; pairs that are not measured count as held."""
    return 1 - sum(distances.get(number, 0.0) for number in range(len(moved))) / sum(moved)


def _drawn(image: Inputs, numbers: Iterable[int]) -> Inputs:
    """The scenes of these numbers."""
    return image[:1].with_images(scenes(numbers, image.images))


def _at_once(session: Session, image: Inputs) -> int:
    """The images of a pass: large ones go alone, as several take more memory than a prediction."""
    return max(1, min(session.runtime.batch_size, _MOST_VALUES // max(1, image.images[0].numel())))


@contextmanager
def _held_at(session: Session, places: Mapping[str, Sequence[Place]], outputs: Mapping[str, Tensor]) -> Iterator[None]:
    """While this is open, the outputs of layers are held at others, where their places are."""
    with ExitStack() as stack:
        for layer, module in session.modules(tuple(places)).items():
            hook = _holder(places[layer], outputs)
            stack.callback(module.register_forward_hook(hook).remove)
        yield


def _scores(session: Session, inputs: Inputs) -> Tensor:
    """The scores of the classes, (N, C)."""
    return over_places(session.call(inputs)).double()


_Hook = Callable[[nn.Module, Any, Any], Any]


def _places(session: Session, image: Inputs, layer: str) -> tuple[Place, ...]:
    """The places of a layer's occurrences; none where it has no positions on the image."""
    try:
        return places_of(session, profile_of(session, image), layer)
    except PellucidError:
        return ()


def _holder(places: Sequence[Place], outputs: Mapping[str, Tensor]) -> _Hook:
    """A hook that puts the reference's values at the positions of each occurrence of a layer."""
    runs = itertools.count(1)

    def hold(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        tensor, number = first_tensor(output), next(runs)
        held = [place for place in places if place.occurrence.run in (None, number)]
        if tensor is None or not held:
            return output
        changed = tensor
        for place in held:
            values = place.layout.spatial(outputs[place.occurrence.captured])
            count = tensor.shape[place.layout.batch_axis] // place.layout.entries
            values = values.expand(count, *(-1,) * (len(place.layout.grid) + 1))
            changed = place.layout.restored(values, changed)
        return replaced(output, tensor, changed.clone())

    return hold
