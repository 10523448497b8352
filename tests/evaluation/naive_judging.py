"""Plain-loop replicas of the figures of ``pellucid.evaluation``, written from their docstrings."""

from __future__ import annotations

import math
from itertools import pairwise


def brier(values, labels):
    return sum((p - y) ** 2 for p, y in zip(values, labels, strict=True)) / len(values)


def bins(values, labels):
    """(mean predicted, share, count) of each bin of a tenth that has an image; 1 belongs to the last."""
    found = []
    for number in range(10):
        members = [
            (p, y)
            for p, y in zip(values, labels, strict=True)
            if number / 10 <= p and (p < (number + 1) / 10 or number == 9)
        ]
        if members:
            n = len(members)
            found.append((sum(p for p, _ in members) / n, sum(y for _, y in members) / n, n))
    return found


def calibration_error(values, labels):
    return sum(n * abs(p - y) for p, y, n in bins(values, labels)) / len(values)


def roc(values, labels):
    """All points (1 − specificity, sensitivity) at the thresholds above, at and below each value."""
    positive, negative = sum(labels), len(labels) - sum(labels)
    points = [(0.0, 0.0)]
    for threshold in sorted(set(values), reverse=True):
        called = [p >= threshold for p in values]
        hits = sum(c and y for c, y in zip(called, labels, strict=True))
        alarms = sum(c and not y for c, y in zip(called, labels, strict=True))
        points.append((alarms / negative, hits / positive))
    return points


def on_path(path, point):
    """Whether a point lies on a path of straight parts."""
    x, y = point
    for (x0, y0), (x1, y1) in pairwise(path):
        across = (x1 - x0) * (y - y0) - (x - x0) * (y1 - y0)
        within = min(x0, x1) - 1e-9 <= x <= max(x0, x1) + 1e-9 and min(y0, y1) - 1e-9 <= y <= max(y0, y1) + 1e-9
        if abs(across) < 1e-9 and within:
            return True
    return False


def mean(values):
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def best_threshold(rows, thresholds):
    """The lowest threshold whose mean overlap over the rows is the greatest."""
    best, chosen = -1.0, None
    for column, threshold in enumerate(thresholds):
        found = mean([row[column] for row in rows])
        if not math.isnan(found) and found > best + 1e-12:
            best, chosen = found, threshold
    return chosen


def tuned(table, folds, thresholds):
    """The values of all findings at the threshold that is best on the other folds, and the thresholds."""
    chosen = {
        fold: best_threshold([row for row, own in zip(table, folds, strict=True) if own != fold], thresholds)
        for fold in sorted(set(folds))
    }
    return [row[thresholds.index(chosen[fold])] for row, fold in zip(table, folds, strict=True)], list(chosen.values())


def compared(method, priors, better="higher"):
    """Values of a method and of priors by finding, None for a finding that is left out; a method's gap is a miss."""
    known = [v for column in [method, *priors.values()] for v in column if not math.isnan(v)]
    miss = max([1.0, *known]) if better == "lower" else min([0.0, *known])
    found = []
    for index, value in enumerate(method):
        if any(math.isnan(column[index]) for column in priors.values()):
            found.append(None)
        else:
            found.append(miss if math.isnan(value) else value)
    return found
