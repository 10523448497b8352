"""The heatmaps of all candidates, from one pass for each batch of images: methods share outputs and gradients."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from pellucid.choosing.pairs import Pair
from pellucid.choosing.subjects import Subjects
from pellucid.core.head import over_places
from pellucid.core.inputs import Inputs
from pellucid.core.runtime import Runtime
from pellucid.core.target import Targets
from pellucid.models.discovery.places import places_of
from pellucid.models.discovery.profile import Place
from pellucid.models.discovery.recording import profile_of
from pellucid.models.engine import Pass
from pellucid.models.session.session import Session
from pellucid.run.assembly import assembled
from pellucid.run.batching import attributed
from pellucid.run.facts import Facts
from pellucid.run.fusing import SUM


@dataclass(frozen=True, eq=False)
class Maps:
    """What makes the maps of pairs; the places of every layer are found once."""

    pairs: Sequence[Pair]
    facts: Sequence[Facts]

    @classmethod
    def of(cls, pairs: Sequence[Pair], subjects: Subjects) -> Maps:
        """The maps of these pairs."""
        session, image = subjects.session, subjects.prepared_one()
        layers = dict.fromkeys(layer for pair in pairs for layer in pair.layers)
        known = _places(session, image, layers)
        return cls(pairs, [_facts(pair, known, session.runtime) for pair in pairs])

    def each(self, subjects: Subjects, inputs: Inputs, targets: Targets) -> Iterator[Tensor]:
        """The heatmaps (N, *space) of each pair for a few images, whose targets are resolved."""
        session = subjects.session
        occurrences = dict.fromkeys(one for facts in self.facts for one in facts.occurrences)
        whole = Pass(session, session.on_device(inputs), tuple(occurrences), batch_size=session.runtime.batch_size)
        size = tuple(inputs.images.shape[2:])
        one = targets.columns(0, 1)  # one object for all methods: they share its gradients
        for facts in self.facts:
            chunk = attributed(facts.method, facts.passes(whole), one)
            logits = over_places(whole.scores().detach())
            indices = one.indices(logits)
            yield assembled(facts, one, [chunk], logits, indices, size).heatmaps[:, 0]


def _places(session: Session, image: Inputs, layers: Collection[str]) -> dict[str, tuple[Place, ...]]:
    """The places of layers; of none, nothing is asked of the network, which may be one that cannot be looked into."""
    if not layers:
        return {}
    profile = profile_of(session, image)
    return {layer: places_of(session, profile, layer) for layer in layers}


def _facts(pair: Pair, known: Mapping[str, tuple[Place, ...]], runtime: Runtime) -> Facts:
    """How a pair's maps are made; layers that were found together are added."""
    places = {layer: known[layer] for layer in pair.layers}
    return Facts(pair.method, places, SUM if len(pair.layers) > 1 else "mean", runtime)
