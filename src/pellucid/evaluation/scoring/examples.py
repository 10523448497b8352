"""Cases that are shown as images: the best, the worst, some drawn at random, and some without a finding."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from pellucid.core.image import Image
from pellucid.evaluation.evaluation import Example
from pellucid.evaluation.measured import Column, Measured
from pellucid.evaluation.scoring.example_image import example_image
from pellucid.evaluation.scoring.frame import unpacked
from pellucid.evaluation.scoring.maps import Batch, made
from pellucid.evaluation.scoring.measuring import Looked
from pellucid.render.encoding import png, thumbnail

EACH = 3
"""So many cases of each of the four kinds are shown, by each method."""
FOLDER = "examples"
OWN_NAMES = re.compile(r"\d\d-\d\d+\.png")
"""The names of examples: the number of the case, then of the method."""
WITHOUT = "without a finding"
_SIDE = 768
"""The most pixels of the longest side of an example's image."""
_MOST_BYTES = 45 * 10**6
_BYTES_A_PIXEL = 3.6
"""Of an image of noise, with its colour bar."""
_SMALL = 256
"""The longest side of the thumbnails, in pixels."""


@dataclass(frozen=True)
class _Chosen:
    """A case that is shown: its number among the findings that are scored, or among the images without one."""

    kind: str
    number: int


@dataclass(frozen=True, eq=False)
class _Case:
    """A case with all that its drawings share; ``row`` is its number among the findings, None without one."""

    kind: str
    name: str
    label: str
    text: str
    row: int | None
    image: Image
    batch: Batch
    mask: Tensor | None


def examples(looked: Looked, measured: Measured) -> tuple[list[Example], dict[str, bytes]]:
    """The cases that are shown, each by every method, and their images by file name, for the folder ``FOLDER``.

    The best and the worst are chosen by the mean of the primary metric over the methods, those of equal value at
    random, like the others. The more methods there are, the smaller the images: together they never exceed 45 MB.
    """
    found: list[Example] = []
    files: dict[str, bytes] = {}
    chosen = list(_chosen(measured, looked.plan.seed)) if measured.methods else []
    side = side_of(len(chosen) * len(measured.methods))
    for number, one in enumerate(chosen):
        case = _case(looked, measured, one)
        for place, method in enumerate(measured.methods):
            file = f"{number:02}-{place:02}.png"
            found.append(_example(case, measured, method, file))
            files[file] = _drawn(looked, case, method, side)
    return found, files


def side_of(count: int) -> int:
    """The longest side of each of this number of images.

    >>> side_of(12), side_of(12 * 40)
    (768, 161)
    """
    return min(_SIDE, math.isqrt(int(_MOST_BYTES / _BYTES_A_PIXEL / max(1, count))))


def _chosen(measured: Measured, seed: int) -> Iterator[_Chosen]:
    values = _means(measured)
    generator = np.random.default_rng(seed)
    known = generator.permutation(np.flatnonzero(~np.isnan(values)))
    order = known[np.argsort(-values[known], kind="stable")].tolist()
    best = order[: min(EACH, len(order) // 2)]
    worst = order[::-1][: min(EACH, len(order) // 2)]
    random = generator.permutation(len(values))[:EACH].tolist()
    for kind, numbers in (("best", best), ("worst", worst), ("random", random)):
        yield from (_Chosen(kind, number) for number in numbers)
    without = sorted(generator.permutation(len(measured.without))[:EACH].tolist())
    yield from (_Chosen(WITHOUT, number) for number in without)


def _means(measured: Measured) -> Column:
    """The mean (N,) of the primary metric over the methods that have a value, turned so that larger is better."""
    columns = np.stack([measured.values["label"][method][measured.primary] for method in measured.methods])
    known = ~np.isnan(columns)
    counts, sums = known.sum(axis=0), np.where(known, columns, 0.0).sum(axis=0)
    means: Column = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    return -means if measured.metrics[measured.primary].better == "lower" else means


def _case(looked: Looked, measured: Measured, one: _Chosen) -> _Case:
    batches, is_free = looked.batches, one.kind == WITHOUT
    number = batches.without[one.number] if is_free else batches.image_of(one.number)
    images, seen = next(batches.opened([[number]])), measured.images[number]
    if is_free:
        batch = batches.of_images([number], images)
        label = batches.class_name(int(batch.classes[0]))
        text = f"no finding{_probability(seen.probabilities, label)}"
        return _Case(one.kind, seen.name, label, text, None, images[number], batch, None)
    finding = measured.findings[one.number]
    batch, _ = batches.of_findings([one.number], images)
    mask = unpacked(batches.mask_of(one.number), batches.space)
    text = f"finding of {100 * finding.area:.1f} % of the image{_probability(seen.probabilities, finding.label)}"
    return _Case(one.kind, seen.name, finding.label, text, one.number, images[number], batch, mask)


def _probability(probabilities: Mapping[str, float] | None, label: str) -> str:
    if probabilities is None or label not in probabilities:
        return ""
    return f"; the model's probability of {label} is {probabilities[label]:.2f}"


def _example(case: _Case, measured: Measured, method: str, file: str) -> Example:
    value = math.nan if case.row is None else float(measured.values["label"][method][measured.primary][case.row])
    known = None if math.isnan(value) else value
    return Example(case.kind, case.name, method, case.label, known, case.text, f"{FOLDER}/{file}")


def _drawn(looked: Looked, case: _Case, method: str, side: int) -> bytes:
    scorer = looked.scorer
    heat = made(method, scorer.asked, scorer.network, case.batch, scorer.seed).maps["heatmaps"][0]
    drawn = example_image(case.image, heat, case.mask, side)
    return png(drawn, thumbnail(drawn, drawn.size, _SMALL))
