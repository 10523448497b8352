"""Plain-loop replicas of the formulas of ``pellucid.statistics``, written from their papers."""

from __future__ import annotations

import itertools
import math

from scipy import optimize, stats


def korn_graubard(hits, patients, confidence=0.95):
    """Clopper–Pearson on the effective sample size, as the docstring of ``proportion`` states it."""
    groups = {}
    for hit, patient in zip(hits, patients, strict=True):
        groups.setdefault(patient, []).append(hit)
    n, m, rate = len(hits), len(groups), sum(hits) / len(hits)
    if rate in (0, 1):
        effective = m
    else:
        between = sum((sum(group) - rate * len(group)) ** 2 for group in groups.values())
        variance = m / (m - 1) * between / n**2
        effect = max(1, variance / (rate * (1 - rate) / (n - 1)))
        half = (1 + confidence) / 2
        effective = n / effect * (stats.t.ppf(half, n - 1) / stats.t.ppf(half, m - 1)) ** 2
        rarer = min(sum(outcome in group for group in groups.values()) for outcome in (0, 1))
        if rarer < 10 and max(len(group) for group in groups.values()) > 3:
            effective = min(effective, n**2 / sum(len(group) ** 2 for group in groups.values()))
    tail, x = (1 - confidence) / 2, rate * effective
    low = 0.0 if rate == 0 else stats.beta.ppf(tail, x, effective - x + 1)
    high = 1.0 if rate == 1 else stats.beta.ppf(1 - tail, x + 1, effective - x)
    return low, high


def flips(differences, patients):
    """One-sided p-values over all signs of the patients whose sum is not 0, ties counting half, the data as a whole."""
    sums = {}
    for patient, value in zip(patients, differences, strict=True):
        sums[patient] = sums.get(patient, 0.0) + value
    sums = [value for value in sums.values() if value]
    above = below = ties = 0
    reached = sum(sums)
    for signs in itertools.product((1, -1), repeat=len(sums)):
        total = sum(sign * value for sign, value in zip(signs, sums, strict=True))
        if abs(total - reached) < 1e-9:
            ties += 1
        elif total > reached:
            above += 1
        else:
            below += 1
    whole = 2 ** len(sums)
    return (above + (ties - 1) / 2 + 1) / whole, (below + (ties - 1) / 2 + 1) / whole


def poisson_binomial_tail(hits, probabilities):
    """P(X > hits) + P(X = hits) / 2, over all outcomes of the cases."""
    tail = 0.0
    for outcome in itertools.product((0, 1), repeat=len(probabilities)):
        chance = math.prod(p if hit else 1 - p for hit, p in zip(outcome, probabilities, strict=True))
        tail += chance * ((sum(outcome) > hits) + (sum(outcome) == hits) / 2)
    return tail


def tango(wins, losses, count, shift):
    """The score statistic, the share of losses being the most likely one by numerical search."""

    def unlikelihood(share):
        return -(
            wins * math.log(share + shift)
            + losses * math.log(share)
            + (count - wins - losses) * math.log(1 - 2 * share - shift)
        )

    least = max(0, -shift) + 1e-12
    found = optimize.minimize_scalar(
        unlikelihood, bounds=(least, (1 - shift) / 2 - 1e-12), method="bounded", options={"xatol": 1e-12}
    )
    variance = count * (2 * found.x + shift - shift**2)
    return (wins - losses - count * shift) / math.sqrt(variance)


def tango_bounds(wins, losses, count, confidence):
    """The shifts at which Tango's score, by its formula of the share of losses, is the quantile, found by halving."""
    return bounds_of(tango_score(wins, losses, count), (wins - losses) / count, stats.norm.ppf((1 + confidence) / 2))


def tango_score(wins, losses, count):
    """Tango's score as a function of the shift."""

    def score(shift):
        linear = (2 * count - wins + losses) * shift - wins - losses
        square = max(0, linear**2 + 8 * count * losses * shift * (1 - shift))
        share = (math.sqrt(square) - linear) / (4 * count)
        variance = count * (2 * share + shift - shift**2)
        distance = wins - losses - count * shift
        if variance < 1e-15:
            return math.copysign(9e9, distance) if abs(distance) > 1e-12 else 0.0
        return distance / math.sqrt(variance)

    return score


def bounds_of(score, centre, quantile):
    """Where a falling score is the quantile, and minus the quantile."""
    low = optimize.brentq(lambda shift: score(shift) - quantile, -1, centre, xtol=1e-13) if centre > -1 else -1
    high = optimize.brentq(lambda shift: score(shift) + quantile, centre, 1, xtol=1e-13) if centre < 1 else 1
    return low, high


def effect_of(groups):
    """How many cases count as one: the variance of the mean by patient over that of independent cases, at least 1."""
    every = [value for group in groups for value in group]
    n, m = len(every), len(groups)
    mean = math.fsum(every) / n
    single = math.fsum((value - mean) ** 2 for value in every) / (n - 1) / n
    grouped = math.fsum(math.fsum(value - mean for value in group) ** 2 for group in groups) * m / (m - 1) / n**2
    if len(set(every)) == 1:
        return n / m
    alike = sum(len(group) ** 2 for group in groups) / n
    is_unknown = max(map(len, groups)) > 3 and sum(any(group) for group in groups) < 10
    return max(1, grouped / single, alike if is_unknown else 1)


def difference_of_pair(first, second, patients, confidence):
    """Estimate, bounds, cases, patients, excluded and why withheld, of one pair of methods by itself."""
    rows = [(a - b, p) for a, b, p in zip(first, second, patients, strict=True) if not (math.isnan(a) or math.isnan(b))]
    groups = {}
    for value, patient in rows:
        groups.setdefault(patient, []).append(value)
    n, m = len(rows), len(groups)
    counts = (n, m, len(first) - n)
    if not n:
        return math.nan, math.nan, math.nan, *counts, "no cases"
    mean = math.fsum(value for value, _ in rows) / n
    given = [one for a, b in zip(first, second, strict=True) if not (math.isnan(a) or math.isnan(b)) for one in (a, b)]
    if m > 1 and set(given) <= {0, 1}:
        signs = [value for value, _ in rows]
        if m == n:
            return mean, *tango_bounds(signs.count(1), signs.count(-1), n, confidence), *counts, None
        effect = effect_of(list(groups.values()))
        score = tango_score(signs.count(1) / effect, signs.count(-1) / effect, n / effect)
        return mean, *bounds_of(score, mean, stats.t.ppf((1 + confidence) / 2, m - 1)), *counts, None
    if m < 20:
        return mean, math.nan, math.nan, *counts, "fewer than 20 patients"
    means = [sum(group) / len(group) for group in groups.values()]
    near = max(sum(abs(one - other) < 1e-12 for other in means) for one in means)
    if m - near < 10:
        reason = "fewer than 10 patients differ from the most frequent value"
        return mean, math.nan, math.nan, *counts, reason
    squares = sum(sum(value - mean for value in group) ** 2 for group in groups.values())
    half = stats.t.ppf((1 + confidence) / 2, m - 1) * math.sqrt(m / (m - 1) * squares) / n
    return mean, mean - half, mean + half, *counts, None


def holm(values):
    """Holm's adjusted p-values by the definition: step down through the sorted values."""
    adjusted, largest = [0.0] * len(values), 0.0
    for step, index in enumerate(sorted(range(len(values)), key=lambda one: values[one])):
        largest = max(largest, (len(values) - step) * values[index])
        adjusted[index] = min(1.0, largest)
    return adjusted


def area(scores, hits):
    """The share of pairs of a hit and a miss in which the hit's score is larger, ties half."""
    pairs = [
        (a, b)
        for a, hit in zip(scores, hits, strict=True)
        if hit
        for b, other in zip(scores, hits, strict=True)
        if not other
    ]
    return sum((a > b) + (a == b) / 2 for a, b in pairs) / len(pairs)


def area_error(scores, hits, patients):
    """Obuchowski's standard error of the area, by loops."""
    whole, cases = area(scores, hits), list(zip(scores, hits, patients, strict=True))
    positive, negative = [c for c in cases if c[1]], [c for c in cases if not c[1]]
    sums = {patient: [0.0, 0.0] for patient in patients}
    for score, _, patient in positive:
        share = sum((score > other[0]) + (score == other[0]) / 2 for other in negative) / len(negative)
        sums[patient][0] += share - whole
    for score, _, patient in negative:
        share = sum((other[0] > score) + (score == other[0]) / 2 for other in positive) / len(positive)
        sums[patient][1] += share - whole
    a, b, m = len({c[2] for c in positive}), len({c[2] for c in negative}), len(sums)
    first = a / (a - 1) * sum(one**2 for one, _ in sums.values()) / len(positive) ** 2
    second = b / (b - 1) * sum(other**2 for _, other in sums.values()) / len(negative) ** 2
    both = 2 * m / (m - 1) * sum(one * other for one, other in sums.values()) / (len(positive) * len(negative))
    return math.sqrt(first + second + both)


def kendall(first, second):
    """Kendall's τ_b by counting pairs."""
    alike = opposite = untied_first = untied_second = 0
    for i, j in itertools.combinations(range(len(first)), 2):
        one, other = first[i] - first[j], second[i] - second[j]
        alike += one * other > 0
        opposite += one * other < 0
        untied_first += one != 0
        untied_second += other != 0
    return (alike - opposite) / math.sqrt(untied_first * untied_second)
