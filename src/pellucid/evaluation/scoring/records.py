"""Records of items made a few at a time, and kept as they are made."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pellucid.core.provenance import architecture, digest
from pellucid.evaluation.scoring.journal import Journal
from pellucid.evaluation.scoring.network import Network
from pellucid.evaluation.scoring.opening import Images
from pellucid.evaluation.scoring.survey import Progress

Opener = Callable[[Sequence[Sequence[int]]], Iterator[Images]]
"""Chunks of items → the images of each chunk, read ahead."""


@dataclass(frozen=True, eq=False)
class Chunks:
    """Takes the records of items from a journal, a chunk at a time, and makes those that it does not have.

    Chunks are the same in every run, since rounding may depend on what is in a batch. ``request`` is what all records
    depend on.
    """

    journal: Journal
    request: object
    size: int
    progress: Progress

    def records(
        self,
        what: str,
        items: Sequence[int],
        keys: Sequence[object],
        opened: Opener,
        made: Callable[[Sequence[int], Images], dict[str, Any]],
    ) -> list[Any]:
        """The record of each chunk, in the order of the items; ``keys`` are what each item's part depends on."""
        starts = range(0, len(items), self.size)
        chunks = [items[start : start + self.size] for start in starts]
        names = [sha([what, self.request, *keys[start : start + self.size]]) for start in starts]
        missing = [index for index, name in enumerate(names) if self.journal.get(name) is None]
        images = opened([chunks[index] for index in missing])
        done = len(items) - sum(len(chunks[index]) for index in missing)
        for index in missing:
            self.journal.keep(names[index], made(chunks[index], next(images)))
            done += len(chunks[index])
            self.progress(what, done, len(items))
        return [self.journal.get(name) for name in names]


def sha(facts: object) -> str:
    """A digest of plain values."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()


def facts_of(network: Network) -> list[Any]:
    """What the records of a network depend on: its weights, its preprocessing, how it is read and where it runs."""
    runtime = replace(network.runtime, batch_size=1, keep_memory=False)
    own = [digest(network.model), architecture(network.model), repr(network.preprocessing), repr(runtime)]
    return [*own, network.head, str(network.output)]
