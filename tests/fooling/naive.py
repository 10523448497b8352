"""The formulas of the constructions again, pixel by pixel, with plain numbers."""

from __future__ import annotations

import math

from torch import Tensor

Map = list[list[float]]


def rows(heat: Tensor) -> list[Map]:
    found: list[Map] = heat.tolist()
    return found


def from_low_to_high(one: Map) -> Map:
    values = [value for row in one for value in row]
    return [[(value - min(values)) / (max(values) - min(values) + 1e-8) for value in row] for row in one]


def location(maps: list[Map], width: int) -> float:
    total, count = 0.0, 0
    for one in maps:
        highest, side = max(max(row) for row in one), len(one)
        for y, row in enumerate(one):
            for x, value in enumerate(row):
                wanted = 1.0 if min(y, x, side - 1 - y, side - 1 - x) < width else 0.0
                total, count = total + (value / (highest + 1e-8) - wanted) ** 2, count + 1
    return total / count


def top_k(maps: list[Map], before: list[Map], count: int) -> float:
    total = 0.0
    for one, other in zip(maps, before, strict=True):
        cells = [(value, y, x) for y, row in enumerate(other) for x, value in enumerate(row)]
        scaled = from_low_to_high(one)
        total += sum(scaled[y][x] ** 2 for _, y, x in sorted(cells, reverse=True)[:count]) / count
    return total / len(maps)


def centre(one: Map) -> tuple[float, float]:
    mass = sum(map(sum, one)) + 1e-8
    down = sum(y * value for y, row in enumerate(one) for value in row)
    across = sum(x * value for row in one for x, value in enumerate(row))
    return down / mass, across / mass


def centre_of_mass(maps: list[Map], before: list[Map]) -> float:
    total = 0.0
    for one, other in zip(maps, before, strict=True):
        here, there = centre(from_low_to_high(one)), centre(from_low_to_high(other))
        total += abs(here[0] - there[0]) + abs(here[1] - there[1])
    return -total / len(maps)


def softmax(logits: list[float]) -> list[float]:
    powers = [math.exp(one) for one in logits]
    return [one / sum(powers) for one in powers]


def cross_entropy(logits: list[list[float]], labels: list[int]) -> float:
    losses = [-math.log(softmax(row)[label]) for row, label in zip(logits, labels, strict=True)]
    return sum(losses) / len(losses)


def fairwashing(  # logits of both networks, maps, target, α
    logits: list[list[float]], wanted: list[list[float]], maps: list[Map], target: Map, weight: float
) -> float:
    kept = moved = 0.0
    whole = sum(map(sum, target))
    for row, other, one in zip(logits, wanted, maps, strict=True):
        pairs = list(zip(softmax(row), softmax(other), strict=True))
        kept += sum((p - q) ** 2 for p, q in pairs) / len(pairs)
        mass = sum(abs(value) for line in one for value in line)
        for line, hoped in zip(one, target, strict=True):
            moved += sum((abs(value) / mass - part / whole) ** 2 for value, part in zip(line, hoped, strict=True))
    return ((1 - weight) * kept + weight * moved) / len(maps)
