"""Scores a data set a few items at a time, and takes from the journal what is there already."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pellucid.evaluation.scoring.batches import Batches
from pellucid.evaluation.scoring.journal import Journal
from pellucid.evaluation.scoring.opening import Images
from pellucid.evaluation.scoring.records import Chunks
from pellucid.evaluation.scoring.scorer import Rows, Scorer
from pellucid.evaluation.scoring.survey import Progress


@dataclass(frozen=True, eq=False)
class Scoring:
    """Scores items a few at a time; those of a chunk that the journal has are taken from there.

    ``request`` is a digest of what all records depend on.
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

    def _findings(self, chunk: Sequence[int], images: Images) -> dict[str, Any]:
        return self._kept(self.scorer.findings(*self.batches.of_findings(chunk, images)))

    def _chosen(self, chunk: Sequence[int], images: Images) -> dict[str, Any]:
        return self._kept(self.scorer.overlaps(*self.batches.of_chosen(chunk, images)))

    def _images(self, chunk: Sequence[int], images: Images) -> dict[str, Any]:
        return self._kept(self.scorer.lesion_free(self.batches.of_images(chunk, images)))

    def _kept(self, rows: Rows) -> dict[str, Any]:
        return {"rows": rows, "layers": self.scorer.layers}

    def _records(
        self,
        what: str,
        items: Sequence[int],
        keys: Sequence[object],
        image_of: Callable[[int], int],
        made: Callable[[Sequence[int], Images], dict[str, Any]],
    ) -> list[Any]:
        def opened(chunks: Sequence[Sequence[int]]) -> Iterator[Images]:
            return self.batches.opened([[image_of(item) for item in chunk] for chunk in chunks])

        chunks = Chunks(self.journal, [self.request, self.batches.masks_digest], self.size, self.progress)
        return chunks.records(what, items, keys, opened, made)
