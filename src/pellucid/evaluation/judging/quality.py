"""How good the model is on these images: the area under the ROC curve of each class, and its calibration."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pellucid.evaluation.evaluation import Calibration, Called, ClassQuality, Confusion
from pellucid.evaluation.measured import Measured, Seen
from pellucid.statistics import auroc

CALLED_ABOVE = 0.5
"""The probability above which a class that excludes no other is called."""
BINS = 10
"""Bins of predicted probability, of equal width; the last one includes 1."""
Array = npt.NDArray[np.float64]


def quality_of(measured: Measured) -> tuple[ClassQuality, ...]:
    """The quality for each class that any image is stated or predicted to have, against all others; () without a model.

    Images whose classes are not stated have no part in it. Where classes exclude one another, neither have those that
    are stated to have none of them: the model cannot say so.
    """
    images = judged_images(measured)
    if not images:
        return ()
    there = {name for image in images for name in (*(image.labels or ()), image.predicted)}
    classes = measured.classes or dict.fromkeys(name for image in images for name in image.probabilities or {})
    return tuple(_quality(name, images, measured.multilabel) for name in classes if name in there)


def judged_images(measured: Measured) -> list[Seen]:
    """The images that the model is judged on."""
    stated = [one for one in measured.images if one.probabilities is not None and one.labels is not None]
    if measured.multilabel:
        return stated
    return [one for one in stated if known_labels(one)]


def confusion_of(measured: Measured) -> Confusion | None:
    """The images by annotated and predicted class, in the model's order; None where classes do not exclude one another.

    They are the images that ``quality_of`` judges. One that is stated to have several classes counts in each.
    """
    images = judged_images(measured)
    if measured.multilabel or not images:
        return None
    pairs = Counter((label, image.predicted or "") for image in images for label in known_labels(image))
    order = {name: place for place, name in enumerate(measured.classes or ())}
    annotated, predicted = (
        sorted(set(names), key=lambda name: (order.get(name, len(order)), name)) for names in zip(*pairs, strict=True)
    )
    return Confusion(annotated, predicted, [[pairs[own, other] for other in predicted] for own in annotated])


def known_labels(image: Seen) -> list[str]:
    """The classes that an image is stated to have, of those that the model knows."""
    return [label for label in dict.fromkeys(image.labels or ()) if label in (image.probabilities or {})]


def _quality(name: str, images: Sequence[Seen], multilabel: bool) -> ClassQuality:
    values = np.array([(image.probabilities or {}).get(name, np.nan) for image in images], dtype=np.float64)
    kept = np.isfinite(values)
    has = np.array([name in (image.labels or ()) for image in images], dtype=np.float64)[kept]
    values, patients = values[kept], [image.patient for image, known in zip(images, kept, strict=True) if known]
    positive, negative = int(has.sum()), int((1 - has).sum())
    if not len(values):
        return ClassQuality(name, positive, negative, None, None)
    calibration, called = calibration_of(values, has), called_of(values, has) if multilabel else None
    if not positive or not negative:
        return ClassQuality(name, positive, negative, None, calibration, called=called)
    auc = auroc(values, has, patients)
    return ClassQuality(name, positive, negative, auc, calibration, roc_of(values, has), called)


def called_of(values: Array, has: Array) -> Called:
    """How many images (N,) with and without a class are called.

    >>> called_of(np.array([0.9, 0.5, 0.8, 0.1]), np.array([1.0, 1, 0, 0]))
    Called(present_called=1, present_missed=1, absent_called=1, absent_not_called=1)
    """
    calls, there = values > CALLED_ABOVE, has > 0
    return Called(*(int((own & other).sum()) for own in (there, ~there) for other in (calls, ~calls)))


def roc_of(values: Array, has: Array) -> tuple[tuple[float, float], ...]:
    """The ROC curve's points (1 − specificity, sensitivity), from (0, 0) to (1, 1).

    There is a point for each distinct value (N,), images with it and above being called; ``has`` (N,) is 1 for those
    that have the class. Points within a straight part are left out.

    >>> roc_of(np.array([0.9, 0.8, 0.8, 0.1]), np.array([1.0, 1, 0, 0]))
    ((0.0, 0.0), (0.0, 0.5), (0.5, 1.0), (1.0, 1.0))
    """
    order = np.argsort(-values, kind="stable")
    last = np.flatnonzero(np.diff(values[order], append=-np.inf))
    hits, alarms = np.cumsum(has[order])[last], np.cumsum(1 - has[order])[last]
    corners = [(0, 0)]
    for point in zip(alarms.astype(int).tolist(), hits.astype(int).tolist(), strict=True):
        if len(corners) > 1 and _is_straight(corners[-2], corners[-1], point):
            corners.pop()
        corners.append(point)
    positive, negative = int(has.sum()), int((1 - has).sum())
    return tuple((alarm / negative, hit / positive) for alarm, hit in corners)


def _is_straight(first: tuple[int, int], middle: tuple[int, int], last: tuple[int, int]) -> bool:
    """Whether three points, in whole numbers, are on a line."""
    return (middle[0] - first[0]) * (last[1] - first[1]) == (last[0] - first[0]) * (middle[1] - first[1])


def calibration_of(values: Array, has: Array) -> Calibration:
    """The calibration of predicted probabilities (N,) of images that have the class where ``has`` (N,) is 1.

    The bins are [0, .1), [.1, .2), … [.9, 1]; empty ones are left out. With p̄ and ȳ a bin's means and n_b its images::

        brier = 1/N Σ (p − y)²        error = Σ_b n_b / N |p̄_b − ȳ_b|

    >>> calibration_of(np.array([0.05, 0.95, 0.96]), np.array([0.0, 1.0, 0.0])).observed
    (0.0, 0.5)
    """
    edges = np.arange(1, BINS) / BINS
    bins = np.searchsorted(edges, values, side="right")
    groups = [np.flatnonzero(bins == number) for number in range(BINS)]
    groups = [group for group in groups if len(group)]
    predicted = [float(values[group].mean()) for group in groups]
    observed = [float(has[group].mean()) for group in groups]
    counts = [len(group) for group in groups]
    gaps = [n * abs(p - y) for n, p, y in zip(counts, predicted, observed, strict=True)]
    brier = float(np.square(values - has).mean())
    return Calibration(tuple(predicted), tuple(observed), tuple(counts), brier, sum(gaps) / len(values))
