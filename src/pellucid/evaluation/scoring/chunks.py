"""Scores a data set a few items at a time, and takes from the journal what is there already."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pellucid.evaluation.scoring.batches import Batches, Images
from pellucid.evaluation.scoring.journal import Journal
from pellucid.evaluation.scoring.scorer import Rows, Scorer
from pellucid.evaluation.scoring.survey import Progress


@dataclass(frozen=True, eq=False)
class Scoring:
    """Scores items a few at a time; those of a chunk that the journal has are taken from there.

    Chunks are the same in every run, since rounding may depend on what is in a batch. ``request`` is a digest of what
    all records depend on.
    """

    batches: Batches
    scorer: Scorer
    journal: Journal
    request: str
    size: int
    progress: Progress

    def of_findings(self) -> list[Any]:
        """The records of all chunks of findings."""
        rows = range(len(self.batches.numbers))
        keys = [self.batches.key_of_finding(row) for row in rows]
        return self._records("scoring findings", rows, keys, self.batches.image_of, self._findings)

    def of_chosen(self) -> list[Any]:
        """The records of all chunks of findings of the choose split."""
        found = self.batches.found.findings
        keys = [self.batches.key_of_chosen(number) for number in self.batches.chosen]
        what = "scoring overlaps to choose thresholds"
        return self._records(what, self.batches.chosen, keys, lambda one: found[one].finding.image, self._chosen)

    def without(self) -> list[Any]:
        """The records of all chunks of images without a finding."""
        images = self.batches.without
        keys = [self.batches.key_of_image(number) for number in images]
        return self._records("scoring images without a finding", images, keys, int, self._images)

    def _findings(self, chunk: Sequence[int], images: Images) -> Rows:
        return self.scorer.findings(*self.batches.of_findings(chunk, images))

    def _chosen(self, chunk: Sequence[int], images: Images) -> Rows:
        return self.scorer.overlaps(*self.batches.of_chosen(chunk, images))

    def _images(self, chunk: Sequence[int], images: Images) -> Rows:
        return self.scorer.lesion_free(self.batches.of_images(chunk, images))

    def _records(
        self,
        what: str,
        items: Sequence[int],
        keys: Sequence[object],
        image_of: Callable[[int], int],
        rows: Callable[[Sequence[int], Images], Rows],
    ) -> list[Any]:
        starts = range(0, len(items), self.size)
        chunks = [items[start : start + self.size] for start in starts]
        names = [self._name(what, keys[start : start + self.size]) for start in starts]
        missing = [index for index, name in enumerate(names) if self.journal.get(name) is None]
        images = self.batches.opened([[image_of(item) for item in chunks[index]] for index in missing])
        done = len(items) - sum(len(chunks[index]) for index in missing)
        for index in missing:
            made = rows(chunks[index], next(images))
            self.journal.keep(names[index], {"rows": made, "layers": self.scorer.layers})
            done += len(chunks[index])
            self.progress(what, done, len(items))
        return [self.journal.get(name) for name in names]

    def _name(self, what: str, keys: Sequence[object]) -> str:
        return sha([what, self.request, self.batches.masks_digest, *keys])


def sha(facts: object) -> str:
    """The SHA-256 of plain values."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()
