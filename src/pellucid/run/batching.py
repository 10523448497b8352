"""Explains a batch of any size: a few images and classes at a time, and fewer where they do not fit into memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pellucid.core.attribution import Attribution
from pellucid.core.explanation import Explanation
from pellucid.core.head import over_places
from pellucid.core.inputs import Inputs
from pellucid.core.method import Method
from pellucid.core.target import Targets
from pellucid.errors import is_out_of_memory, warn
from pellucid.models.discovery.own_views import check_views
from pellucid.models.engine import Pass
from pellucid.models.session.session import Session
from pellucid.run.assembly import assembled
from pellucid.run.facts import Facts

_MAPS_AN_IMAGE = 16
"""Maps for each image of a full batch whose gradients are held at a time; 1,000 classes at once would take 6 GB."""


def explained(session: Session, facts: Facts, inputs: Inputs, targets: Targets) -> Explanation:
    """Explain as many images at a time as the runtime says; half as many where that does not fit into memory.

    ``targets`` have the session's head (``Opened.read``).
    """
    parts: list[Explanation] = []
    start, count, asked = 0, len(inputs), session.runtime.batch_size
    size = asked
    while start < count:
        stop = min(start + size, count)
        try:
            parts.append(_part(session, facts, inputs[start:stop], targets.images(start, stop), size))
            start = stop
        except RuntimeError as error:
            if size == 1 or not is_out_of_memory(error):
                raise
            size //= 2
    if size < asked:
        warn(f"batch_size={asked} does not fit into memory; {size} at a time did")
    return Explanation.cat(parts)


def _part(session: Session, facts: Facts, inputs: Inputs, targets: Targets, batch_size: int) -> Explanation:
    """Explain one batch: all layers from one pass, a chunk of the classes at a time."""
    placed = session.on_device(inputs)
    if facts.places or facts.method.uses_attention:
        check_views(session, placed)
    whole = Pass(session, placed, facts.occurrences, batch_size=batch_size)
    passes = facts.passes(whole)
    step = max(1, _MAPS_AN_IMAGE * batch_size // len(inputs))
    chunks = [attributed(facts.method, passes, targets.columns(0, step))]
    logits = whole.scores().detach()
    total = targets.count(logits)
    for start in range(step, total if facts.method.class_specific else 0, step):
        chunks.append(attributed(facts.method, passes, targets.columns(start, start + step)))
    indices = targets.columns(0, total).indices(logits)
    size = tuple(inputs.images.shape[2:])
    return assembled(facts, targets, chunks, over_places(logits), indices, size)


def attributed(method: Method, passes: Sequence[Pass], targets: Targets) -> list[Attribution]:
    """The attributions of a chunk of classes, one an occurrence of a layer."""
    found = [method.attribute(one, targets) for one in passes]
    return found if method.uses_layers else [_on_image(found[0], passes[0])]


def _on_image(found: Attribution, whole: Pass) -> Attribution:
    """Maps of a method without layers; those of tokens are drawn on what the network sees of the image."""
    space = whole.inputs.images.shape[2:]
    if not isinstance(found, Attribution) or found.values.shape[2:] == space or not whole.view.axes:
        return found
    return replace(found, values=whole.view.drawn(found.values, space), on_image=True)
