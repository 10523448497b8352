"""``Facts``: what is the same for all batches of a call, such as its layers and where they lie on the image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pellucid.core import catalogue
from pellucid.core.explanation import SEQUENCE
from pellucid.core.inputs import Form, Inputs
from pellucid.core.method import Method
from pellucid.core.prior import STATEMENTS
from pellucid.core.provenance import versions
from pellucid.core.runtime import Runtime
from pellucid.core.view import WHOLE
from pellucid.errors import LayerError
from pellucid.models.discovery.layers import recommended
from pellucid.models.discovery.places import in_network_order, places_of
from pellucid.models.discovery.profile import Place
from pellucid.models.discovery.recording import profile_of
from pellucid.models.engine import Pass
from pellucid.models.session.session import Session
from pellucid.run.fusing import SUM
from pellucid.run.tuned import Trial


@dataclass(frozen=True)
class Facts:
    """What is the same for all batches of one call."""

    method: Method
    places: Mapping[str, tuple[Place, ...]]
    """The layers, in the order in which the network runs them, and where their outputs lie on the image."""
    fuse: str
    runtime: Runtime
    trial: Trial | None = None
    """The measurement that the runtime was chosen by, if it was."""
    share: float | None = None
    """How much of the score passes through the layers, on generated images; None where it was not measured."""
    form: Form = "images"
    """Whether the input is a sequence or set of images."""
    why: str | None = None
    """Why this method and these layers, where they were asked for as "auto"."""

    @classmethod
    def of(cls, method: Method, layers: Sequence[str] | None, fuse: str, session: Session, image: Inputs) -> Facts:
        """The facts for inputs like this image, which is prepared; ``layers`` None are found.

        It costs passes the first time only. Layers that are found because each has a part of the score are added.

        Raises:
            LayerError: there is no such layer, or one is named beside one of its own runs.
        """
        if not method.uses_layers:
            return cls(method, {}, fuse, session.runtime, form=image.form)
        places = _places(layers, session, image)
        together = SUM if layers is None and len(places) > 1 else fuse
        return cls(method, places, together, session.runtime, form=image.form)

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers' names."""
        return tuple(self.places)

    @property
    def each_place(self) -> tuple[Place, ...]:
        """The places of the layers' occurrences, one layer's after the other's."""
        return tuple(place for places in self.places.values() for place in places)

    @property
    def occurrences(self) -> tuple[str, ...]:
        """The layers' occurrences by name, one layer's after the other's."""
        return tuple(str(place.occurrence) for place in self.each_place)

    def passes(self, whole: Pass) -> list[Pass]:
        """A pass at each of the layers' occurrences; as a whole for a method without layers."""
        return [whole.at(occurrence) for occurrence in self.occurrences] or [whole]

    def _views(self) -> dict[str, str]:
        """What of the image each occurrence sees, where that is not all of it, or of several images."""
        places = [place for place in self.each_place if place.view.member is None]
        several = {place.occurrence.layer for place in places if place.occurrence.run or place.occurrence.entry}
        shown = [place for place in places if place.view != WHOLE or place.occurrence.layer in several]
        return {str(place.occurrence): str(place.view) for place in shown}

    def provenance(self) -> dict[str, Any]:
        """How the explanation was computed, as plain values."""
        runtime = asdict(self.runtime) | {"device": str(self.runtime.device)}
        return {
            "method": self.method.name,
            "options": catalogue.settings(self.method),
            "prior": STATEMENTS[self.method.made_from],
            "signed": self.method.signed,
            "concept": None if self.method.concept is None else self.method.concept.code,
            "layers": list(self.layers),
            "fuse": self.fuse,
            "chosen": self.why,
            "share": self.share,
            "views": self._views(),
            "input": "images" if self.form == "images" else SEQUENCE,
            "runtime": runtime,
            "agreement_with_float32": None if self.trial is None else self.trial.agreement,
            "versions": versions(),
        }


def _places(layers: Sequence[str] | None, session: Session, image: Inputs) -> dict[str, tuple[Place, ...]]:
    """The layers in the order in which the network runs them, found where none are named, and their places."""
    names = recommended(session, image) if layers is None else tuple(dict.fromkeys(layers))
    session.modules(names)
    profile = profile_of(session, image)
    ordered = names if layers is None else in_network_order(session, profile, names)
    found = {name: places_of(session, profile, name) for name in ordered}
    _check_distinct(found)
    return found


def _check_distinct(places: Mapping[str, Sequence[Place]]) -> None:
    """Refuse a layer that is named beside one of its own runs: it would count twice."""
    seen: dict[str, str] = {}
    for layer, own in places.items():
        for occurrence in (str(place.occurrence) for place in own):
            if occurrence in seen:
                raise LayerError(
                    f"layers {seen[occurrence]!r} and {layer!r} were given; both hold {occurrence!r}: give one"
                )
            seen[occurrence] = layer
