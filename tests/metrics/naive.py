"""Naive replicas of the metrics of localisation, complexity and comparison: loops over pixels, one case at a time."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np


def pixels(array):
    return itertools.product(*(range(side) for side in array.shape))


def iou(heat, mask, threshold=0.5):
    high = {one for one in pixels(heat) if heat[one] >= threshold}
    inside = {one for one in pixels(mask) if mask[one]}
    return len(high & inside) / len(high | inside)


def coverage(heat, mask, threshold=0.5):
    inside = [one for one in pixels(mask) if mask[one]]
    return sum(heat[one] >= threshold for one in inside) / len(inside)


def precision(heat, mask, threshold=0.5):
    high = [one for one in pixels(heat) if heat[one] >= threshold]
    return sum(mask[one] for one in high) / len(high) if high else 0.0


def mass(heat, mask):
    total = sum(float(heat[one]) for one in pixels(heat))
    return sum(float(heat[one]) for one in pixels(heat) if mask[one]) / total if total else 0.0


def rank(heat, mask, orders=4000, seed=0):
    """By drawing orders of equal pixels: the mean over them."""
    source, size = np.random.default_rng(seed), int(mask.sum())
    flat, inside = heat.ravel(), mask.ravel()
    hits = [inside[np.lexsort((source.random(flat.size), -flat))[:size]].mean() for _ in range(orders)]
    return float(np.mean(hits))


def average_precision(heat, mask):
    total, area, before = int(mask.sum()), 0.0, 0.0
    for level in sorted(set(heat.ravel().tolist()), reverse=True):
        chosen = heat >= level
        recall = int((chosen & mask).sum()) / total
        area += (recall - before) * int((chosen & mask).sum()) / int(chosen.sum())
        before = recall
    return area


def components(flags) -> list[set[tuple[int, ...]]]:
    """Flood fill over all neighbours, corners included."""
    left, found = {one for one in pixels(flags) if flags[one]}, []
    while left:
        waiting, own = [min(left)], set()
        while waiting:
            one = waiting.pop()
            if one not in left:
                continue
            left.remove(one)
            own.add(one)
            steps = itertools.product((-1, 0, 1), repeat=flags.ndim)
            waiting += [tuple(a + b for a, b in zip(one, step, strict=True)) for step in steps]
        found.append(own)
    return found


def peak_of(own, heat):
    top = max(float(heat[one]) for one in own)
    highest = sorted(one for one in own if float(heat[one]) == top)
    mean = [sum(axis) / len(highest) for axis in zip(*highest, strict=True)]
    return min(highest, key=lambda one: (sum((a - b) ** 2 for a, b in zip(one, mean, strict=True)), one)), top


def froc(heat, mask, threshold=0.5, false_marks=4, tolerance=0.0):
    lesions = components(mask)
    marks = [peak_of(own, heat) for own in components(heat >= threshold)]
    shares = []
    for most in range(false_marks + 1):
        best = 0.0
        for level in {height for _, height in marks}:
            false, found = 0, set()
            for position, height in marks:
                if height < level:
                    continue
                near = [
                    (min(math.dist(position, one) for one in lesion), number) for number, lesion in enumerate(lesions)
                ]
                distance, number = min(near)
                if distance <= tolerance:
                    found.add(number)
                else:
                    false += 1
            if false <= most:
                best = max(best, len(found) / len(lesions))
        shares.append(best)
    return sum(shares) / len(shares)


def gini(heat):
    """As half the mean absolute difference of all pairs, over the mean."""
    values = heat.ravel().astype(float)
    mean = values.mean()
    return float(np.abs(values[:, None] - values[None]).mean() / (2 * mean)) if mean else 0.0


def entropy(heat):
    values = [float(one) for one in heat.ravel()]
    total = sum(values)
    return -sum(one / total * math.log(one / total) for one in values if one > 0)


def effective_complexity(heat, epsilon=1e-5):
    return sum(float(one) > epsilon for one in heat.ravel())


def window() -> list[float]:
    weights = [math.exp(-(step**2) / (2 * 1.5**2)) for step in range(-5, 6)]
    return [one / sum(weights) for one in weights]


def ssim_parts(a, b):
    """SSIM and its part without luminance, window by window."""
    weights = window()
    block = np.ones((1,) * a.ndim)
    for axis in range(a.ndim):
        block = block * np.array(weights).reshape([-1 if own == axis else 1 for own in range(a.ndim)])
    both, structures = [], []
    for corner in itertools.product(*(range(side - 10) for side in a.shape)):
        chosen = tuple(slice(start, start + 11) for start in corner)
        x, y = a[chosen].astype(float), b[chosen].astype(float)
        mx, my = float((block * x).sum()), float((block * y).sum())
        vx, vy = float((block * (x - mx) ** 2).sum()), float((block * (y - my) ** 2).sum())
        cov = float((block * (x - mx) * (y - my)).sum())
        structure = (2 * cov + 0.0009) / (vx + vy + 0.0009)
        structures.append(structure)
        both.append((2 * mx * my + 0.0001) / (mx * mx + my * my + 0.0001) * structure)
    return float(np.mean(both)), float(np.mean(structures))


def halved(a):
    sides = [side // 2 for side in a.shape]
    out = np.zeros(sides)
    for one in itertools.product(*(range(side) for side in sides)):
        out[one] = a[tuple(slice(2 * step, 2 * step + 2) for step in one)].mean()
    return out


def ms_ssim(a, b):
    value = 1.0
    for weight in (0.0448, 0.2856, 0.3001, 0.2363):
        value *= max(ssim_parts(a, b)[1], 0.0) ** weight
        a, b = halved(a), halved(b)
    return value * max(ssim_parts(a, b)[0], 0.0) ** 0.1333


def ranks(values: Sequence[float]) -> list[float]:
    return [sum(other < one for other in values) + (sum(other == one for other in values) + 1) / 2 for one in values]


def pearson(a, b):
    x, y = np.asarray(a, float).ravel(), np.asarray(b, float).ravel()
    mx, my = sum(x) / len(x), sum(y) / len(y)
    cov = sum((p - mx) * (q - my) for p, q in zip(x, y, strict=True))
    return cov / math.sqrt(sum((p - mx) ** 2 for p in x) * sum((q - my) ** 2 for q in y))


def spearman(a, b):
    return pearson(ranks(a.ravel().tolist()), ranks(b.ravel().tolist()))


def weights_of_top(flat, count):
    order = sorted(flat, reverse=True)
    last = order[count - 1]
    above = sum(one > last for one in flat)
    return [1.0 if one > last else (count - above) / flat.count(last) if one == last else 0.0 for one in flat]


def topk_overlap(a, b, share=0.1):
    count = max(1, round(share * a.size))
    pairs = zip(*(weights_of_top(one.ravel().tolist(), count) for one in (a, b)), strict=True)
    return sum(min(pair) for pair in pairs) / count


def l2(a, b):
    return math.sqrt(sum((float(a[one]) - float(b[one])) ** 2 for one in pixels(a)))


def centre(a):
    total = sum(float(a[one]) for one in pixels(a))
    return [sum(one[axis] * float(a[one]) for one in pixels(a)) / total for axis in range(a.ndim)]


def centre_shift(a, b):
    return math.dist(centre(a), centre(b))


def run_lengths(mask) -> list[int]:
    """COCO's counts of a mask, column after column, beginning with 0."""
    counts, current = [0], False
    for one in np.asarray(mask).T.ravel().tolist():
        if bool(one) != current:
            counts.append(0)
            current = not current
        counts[-1] += 1
    return counts


def compressed(counts: Sequence[int]) -> str:
    """COCO's text of counts: from the fourth on, differences to two before; digits of 5 bits, lowest first."""
    text = ""
    for number, count in enumerate(counts):
        value = count - counts[number - 2] if number > 2 else count
        while True:
            digit, value = value & 0x1F, value >> 5
            done = (value == -1 and digit & 0x10) or (value == 0 and not digit & 0x10)
            text += chr(48 + (digit | (0 if done else 0x20)))
            if done:
                break
    return text
