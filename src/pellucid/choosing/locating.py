"""How often maps find the masks, where there are some: on images that took no part in the choice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from pellucid.choosing.donors import Asked
from pellucid.choosing.maps import Maps
from pellucid.choosing.measuring import Array, batches
from pellucid.choosing.pairs import Key, Pair, key_of
from pellucid.choosing.subjects import Subjects
from pellucid.core.choice import Choice, GradedPair
from pellucid.metrics.pointing import pointing_hits
from pellucid.metrics.relevance_mass import mass_in
from pellucid.statistics.proportions import proportion


def set_aside(asked: Asked, masks: Tensor | None, seed: int) -> tuple[Tensor, Tensor]:
    """The numbers of the images that choose, and of those that are only located: half of the patients with a mask."""
    everyone = torch.arange(len(asked))
    if masks is None:
        return everyone, everyone[:0]
    whose = asked.patients if asked.patients is not None else everyone.tolist()
    masked = list(dict.fromkeys(whose[number] for number in masks.flatten(1).any(1).nonzero()[:, 0].tolist()))
    order = torch.randperm(len(masked), generator=torch.Generator().manual_seed(seed))
    chosen = {masked[number] for number in order[: len(masked) // 2].tolist()}
    aside = torch.tensor([patient in chosen for patient in whose])
    return everyone[~aside], everyone[aside]


@dataclass(frozen=True, eq=False)
class Located:
    """Whether the peak of each pair's maps lies in the mask, (P,), and the share of their mass in it, (P,)."""

    hits: Mapping[Key, Array]
    masses: Mapping[Key, Array]
    patients: Sequence[object] | None

    @classmethod
    def of(cls, subjects: Subjects, masks: Tensor, pairs: Sequence[Pair], patients: Sequence[object] | None) -> Located:
        """Explain images (P, C, *space) that have a mask (P, *space) each, by all pairs."""
        hits: list[list[Tensor]] = [[] for _ in pairs]
        masses: list[list[Tensor]] = [[] for _ in pairs]
        maps = Maps.of(pairs, subjects)
        for numbers in batches(subjects):
            inputs, targets = subjects.prepared(numbers), subjects.targets.rows(numbers)
            for own, hit, mass in zip(maps.each(subjects, inputs, targets), hits, masses, strict=True):
                heat, mask = own.cpu(), masks[numbers]
                hit.append(pointing_hits(heat, mask))
                mass.append(mass_in(heat, mask))
        keys = [key_of(pair) for pair in pairs]
        return cls(_by_pair(keys, hits), _by_pair(keys, masses), patients)

    def added_to(self, choice: Choice) -> Choice:
        """The choice with the hits and the mass of each of its pairs."""
        count = len(next(iter(self.hits.values())))
        return replace(choice, pairs=tuple(self._added(pair) for pair in choice.pairs), located=count)

    def _added(self, pair: GradedPair) -> GradedPair:
        found = proportion(self.hits[pair.key], self.patients)
        mass = float(np.mean(self.masses[pair.key]))
        return replace(pair, hits=found.estimate, hits_low=found.low, hits_high=found.high, mass=mass)


def _by_pair(keys: Sequence[Key], values: Sequence[Sequence[Tensor]]) -> dict[Key, Array]:
    return {key: torch.cat(list(each)).double().numpy() for key, each in zip(keys, values, strict=True)}
