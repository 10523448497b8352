"""Opens a network for a batch: what every call that asks a model begins with."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from torch import nn

from pellucid.core.head import returned, score_names
from pellucid.core.inputs import Inputs
from pellucid.core.runtime import Runtime
from pellucid.core.target import Targets
from pellucid.models.discovery.sequences import form_of
from pellucid.models.discovery.shared_inputs import with_shared
from pellucid.models.session.lazy import lazy
from pellucid.models.session.session import CallFacts, Session
from pellucid.models.sources import model_info
from pellucid.run.cautions import mixed_batch


@dataclass(frozen=True, eq=False)
class Opened:
    """A session, the inputs as it holds them, and the first of them on its device."""

    session: Session
    inputs: Inputs
    image: Inputs

    @lazy
    def known(self) -> CallFacts:
        """What a call with the first image shows."""
        return self.session.known(self.image)

    def read(self, targets: Targets) -> Targets:
        """The targets with the head that the network turns out to have, and the names of its scores."""
        known, head = self.known, self.session.head_for(self.known)
        names = score_names(targets.classes, head, known.classes)
        as_returned = partial(returned, head=head, ending=known.ending)
        return replace(targets, head=head, classes=names, returned=as_returned)


def opened(model: nn.Module, inputs: Inputs, runtime: Runtime, head: str, output: str | int | None) -> Opened:
    """Open a model for inputs as a caller gives them; ``head`` and ``output`` as for ``explain``."""
    info = model_info(model)
    session = Session.of(model, runtime, head, info.head, info.output if output is None else output)
    given = with_shared(session, inputs) if len(inputs.tensors) > 1 else inputs
    image = session.prepared(given[:1])
    form = form_of(session, image)
    found = Opened(session, given.in_form(form), image.in_form(form))
    mixed_batch(session, found.inputs)
    return found
