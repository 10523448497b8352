"""``measured``: what each change does to the answer and the maps of each image of a data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pellucid.core import catalogue
from pellucid.core.provenance import versions
from pellucid.evaluation.case import Data
from pellucid.evaluation.naming import method_of
from pellucid.evaluation.scoring.journal import Journal
from pellucid.evaluation.scoring.network import Network
from pellucid.evaluation.scoring.opening import Images, opened
from pellucid.evaluation.scoring.records import Chunks, facts_of
from pellucid.evaluation.scoring.survey import Progress
from pellucid.evaluation.scoring.usable import ALL, expanded
from pellucid.robustness.looking import Looked
from pellucid.robustness.plan import RobustnessPlan, settings_of
from pellucid.robustness.scorer import Scorer

NAME = ".robustness.jsonl"
"""The journal's file."""
_TRIED = 3
"""The number of images that methods are tried on."""


@dataclass(frozen=True, eq=False)
class Measured:
    """What was measured of N images: ``clean[method][name]`` and ``steps[method][step][name]`` are columns (N,)."""

    looked: Looked
    scorer: Scorer
    clean: Mapping[str, Mapping[str, Sequence[float | None]]]
    steps: Mapping[str, Sequence[Mapping[str, Sequence[float | None]]]]
    missing: Mapping[str, int]
    layers: Mapping[str, Sequence[str]]
    notes: Sequence[str]


def measured(
    data: Data,
    plan: RobustnessPlan,
    network: Network,
    labels: Mapping[str, str],
    folder: Path | None,
    progress: Progress,
) -> Measured:
    """Change the images of a data set, a few at a time; what is in the folder's journal is taken from there.

    Raises:
        DataError: no image can be used.
        OptionError: images differ in size; a method or attack is not possible.
        ShapeError: the pixels of an image are outside [0, 1] before normalisation.
    """
    for name in plan.methods:
        if name != ALL:
            method_of(name)  # errors of the plan come before any work
    looked = Looked.of(data, network, labels, plan.seed, progress)
    network = network.of_head(looked.predicted.head)
    tried = opened([one.case for one in looked.cases[:_TRIED]], network.preprocessing)
    images = [one.values[None] for one in tried if one.image is not None]
    names, left_out = expanded(plan.methods, (), network, images)
    scorer = Scorer(
        network,
        {name: method_of(name) for name in names},
        plan.steps,
        plan.comparisons,
        len(looked.predicted.classes),
        looked.predicted.independent,
    )
    scorer.try_attacks(looked.chunk([0], next(looked.opened([[0]]))))
    with Journal(None if folder is None else folder / NAME) as journal:
        records = _records(looked, scorer, Chunks(journal, _request(scorer), network.runtime.batch_size, progress))
    return _joined(looked, scorer, records, (*looked.notes, *left_out))


def _records(looked: Looked, scorer: Scorer, chunks: Chunks) -> list[Any]:
    def made(numbers: Sequence[int], images: Images) -> dict[str, Any]:
        return scorer.record(looked.chunk(numbers, images))

    items = range(len(looked.cases))
    keys = [looked.key(number) for number in items]
    return chunks.records("changing images", items, keys, looked.opened, made)


def _request(scorer: Scorer) -> list[Any]:
    """What all records depend on."""
    methods = [[name, type(one).__module__, catalogue.settings(one)] for name, one in scorer.methods.items()]
    steps = [[step.change, settings_of(step)] for step in scorer.steps]
    metrics = [[label, repr(one)] for label, one in scorer.metrics.items()]
    return [versions(), methods, steps, metrics, *facts_of(scorer.network)]


def _joined(looked: Looked, scorer: Scorer, records: Sequence[Any], notes: Sequence[str]) -> Measured:
    missing: Counter[str] = Counter()
    layers: dict[str, list[str]] = {}
    for record in records:
        missing.update(record["missing"])
        layers |= record["layers"]
    return Measured(
        looked,
        scorer,
        {name: _columns([record["clean"][name] for record in records]) for name in scorer.methods},
        {
            name: [
                _columns([record["steps"][name][number] for record in records]) for number in range(len(scorer.steps))
            ]
            for name in scorer.methods
        },
        dict(missing),
        layers,
        notes,
    )


def _columns(parts: Sequence[Mapping[str, list[float | None]]]) -> dict[str, list[float | None]]:
    """Columns of chunks as columns of all images."""
    return {name: [value for part in parts for value in part[name]] for name in parts[0]}
