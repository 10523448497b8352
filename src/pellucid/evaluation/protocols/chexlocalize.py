"""CheXlocalize's recipe (Saporta et al. 2022, doi:10.1038/s42256-022-00536-x): its mIoU, hit rate and bootstrap.

The recipe is that of the published code, github.com/rajpurkarlab/cheXlocalize, so that the figures can be set beside
the paper's. It is no verdict: its percentile bootstrap draws images, not patients, and does not keep its coverage
(docs/statistics.md), and nothing is compared with a prior.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import numpy.typing as npt
from numpy.random import RandomState

from pellucid.errors import OptionError
from pellucid.evaluation.protocols.localised import OVER, THRESHOLDS, TRUE_POSITIVES, Localised, Overlap, share

REPLICATES = 1000
CAUTION = (
    "These figures follow the recipe of CheXlocalize (Saporta et al. 2022), to be set beside the paper's. Its "
    "intervals are a percentile bootstrap of images, which does not keep its coverage: no verdict rests on them."
)
_TAIL = 0.025

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class PublishedInterval:
    """A mean with the recipe's 95 % interval: the 25th and 975th of 1000 sorted means, ``bootstrap_mean`` their mean.

    ``count`` is the number of images that have a value. Unlike ``statistics.Interval`` it does not keep its coverage.
    """

    mean: float
    low: float
    high: float
    bootstrap_mean: float
    count: int


@dataclass(frozen=True)
class Protocol:
    """The figures of a published recipe: ``figures[figure][label]``, such as "hit rate" or "mIoU, Otsu, all".

    ``thresholds[label]`` were tuned on other images; ``definitions`` says what each figure is; ``notes`` are sentences.
    """

    name: str
    images: int
    figures: Mapping[str, Mapping[str, PublishedInterval]]
    definitions: Mapping[str, str]
    thresholds: Mapping[str, float] = field(default_factory=dict)
    notes: Sequence[str] = ()


def chexlocalize(
    cases: Iterable[Localised], *, generator: RandomState, validation: Iterable[Localised] = ()
) -> Protocol:
    """The recipe's figures by label, each with its interval.

    ``cases`` has one entry for each image and label, of which those without a finding have an empty mask: the bootstrap
    draws all images (eval.py, ``bootstrap_metric``), in the order of their names. ``validation`` are other images, on
    which the threshold of each label with the largest mean overlap is chosen; without any, only Otsu's is used. The
    published intervals have ``generator`` = ``numpy.random.RandomState(0)``.

    >>> import torch
    >>> from pellucid.evaluation.protocols.localised import localised
    >>> heatmap, mask = torch.tensor([[0.0, 0.1, 0.8, 0.9]]), torch.tensor([[False, False, True, True]])
    >>> cases = [localised(name, "Edema", heatmap, mask) for name in "abc"]
    >>> chexlocalize(cases, generator=RandomState(0)).figures["hit rate"]["Edema"]
    PublishedInterval(mean=1.0, low=1.0, high=1.0, bootstrap_mean=1.0, count=3)

    Raises:
        OptionError: there are no cases; an image has a label twice; or an image is in ``validation``, too.
    """
    given, others = list(cases), list(validation)
    _check(given, others)
    labels = sorted({one.label for one in given})
    best = {label: tuned([one for one in others if one.label == label]) for label in labels}
    thresholds = {label: chosen for label, chosen in best.items() if chosen is not None}
    scores = _scores(thresholds)
    values = np.stack([_table(given, labels, score) for score, _ in scores.values()], axis=1)
    intervals = iter(_intervals(values.reshape(len(values), -1), generator))
    figures = {name: dict(zip(labels, intervals, strict=False)) for name in scores}
    definitions = {name: definition for name, (_, definition) in scores.items()}
    return Protocol("chexlocalize", len(values), figures, definitions, thresholds, (CAUTION,))


def tuned(validation: Sequence[Localised]) -> float | None:
    """The lowest of ``THRESHOLDS`` with the largest mean overlap over true positives; None without any.

    As tune_heatmap_threshold.py does it: for one label, and whether or not the finding is called.
    """
    best, chosen = -math.inf, None
    for index, threshold in enumerate(THRESHOLDS):
        overlaps = np.array([share(one, one.tried[index], TRUE_POSITIVES) for one in validation])
        known = overlaps[~np.isnan(overlaps)]
        if len(known) and known.mean() > best:
            best, chosen = float(known.mean()), threshold
    return chosen


Score = Callable[[Localised], float]


def _scores(thresholds: Mapping[str, float]) -> dict[str, tuple[Score, str]]:
    """The scores of a map by the name of the figure, with what it is."""
    found: dict[str, tuple[Score, str]] = {
        "hit rate": (_hit, "share of the images that have the finding whose most activated pixel is in its mask")
    }
    ways: list[tuple[str, str, Callable[[Localised], Overlap | None]]] = [
        ("Otsu", "Otsu's threshold and filled contours", lambda one: one.otsu),
        ("tuned", "the threshold that was tuned on other images", partial(_at_tuned, thresholds=thresholds)),
    ]
    for way, text, chosen in ways if thresholds else ways[:1]:
        for over, images in OVER.items():
            score = partial(_overlap_of, chosen=chosen, over=over)
            found[f"mIoU, {way}, {over}"] = (score, f"mean IoU with {text}, over {images}")
    return found


def _table(cases: Sequence[Localised], labels: Sequence[str], score: Score) -> Values:
    """A score by image, in the order of their names, and label: NaN where there is none."""
    rows = {image: row for row, image in enumerate(sorted({one.image for one in cases}))}
    columns = {label: column for column, label in enumerate(labels)}
    values = np.full((len(rows), len(columns)), np.nan)
    for one in cases:
        values[rows[one.image], columns[one.label]] = score(one)
    return values


def _hit(one: Localised) -> float:
    return float(one.is_hit) if one.finding else math.nan


def _at_tuned(one: Localised, thresholds: Mapping[str, float]) -> Overlap | None:
    chosen = thresholds.get(one.label)
    return None if chosen is None else one.tried[THRESHOLDS.index(chosen)]


def _overlap_of(one: Localised, chosen: Callable[[Localised], Overlap | None], over: str) -> float:
    found = chosen(one)
    if found is None:
        return math.nan
    return share(one, found if one.is_called else Overlap(0, one.finding, 0), over)


def _intervals(values: Values, generator: RandomState) -> list[PublishedInterval]:
    """The mean of each column of values (N images, K), with its interval, as eval.py computes it.

    All columns are of the same replicates, since the published script starts anew from its seed for each metric.
    """
    count, known = len(values), ~np.isnan(values)
    filled = np.where(known, values, 0)
    drawn = (np.bincount(generator.choice(count, size=count, replace=True), minlength=count) for _ in range(REPLICATES))
    replicates = np.sort([_means(filled, known, times) for times in drawn], axis=0)  # those without a value are last
    means, counts = _means(filled, known, np.ones(count)), known.sum(axis=0)
    low, high = (replicates[int(share * REPLICATES) - 1] for share in (_TAIL, 1 - _TAIL))
    some = ~np.isnan(replicates)
    centres = _means(np.where(some, replicates, 0), some, np.ones(REPLICATES))
    rows = (each.tolist() for each in (means, low, high, centres, counts))
    return [PublishedInterval(*row) for row in zip(*rows, strict=True)]


def _means(filled: Values, known: npt.NDArray[np.bool_], times: npt.NDArray[np.int64] | Values) -> Values:
    """The mean of each column over the rows with a value, weighted by how often a row was drawn; NaN without any."""
    totals, counts = times @ filled, times @ known
    means: Values = np.divide(totals, counts, out=np.full(len(totals), np.nan), where=counts > 0)
    return means


def _check(given: Sequence[Localised], others: Sequence[Localised]) -> None:
    if not given:
        raise OptionError("no cases were given; the recipe needs the maps and masks of at least one image")
    for cases in (given, others):
        twice = [pair for pair, count in Counter((one.image, one.label) for one in cases).items() if count > 1]
        if twice:
            image, label = twice[0]
            raise OptionError(f"{image} was given twice with the label {label!r}; unite the masks of a label to one")
    if both := {one.image for one in given} & {one.image for one in others}:
        raise OptionError(
            f"{min(both)} was given as a case and for validation; thresholds are tuned on other images: leave one out"
        )
