"""Attention rollout once more, its matrices as lists."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tests.replicas.naive import replica


@replica("rollout")
def rollout(
    model: nn.Module, image: Tensor, target: int, layer: str, head_fusion: str = "mean", discard_ratio: float = 0.0
) -> Tensor:
    """Abnar & Zuidema on the tests' TinyViT, its attention computed entry by entry."""
    with torch.no_grad():
        x = model.embed(image[None])
        product: list[list[float]] | None = None
        for block in model.blocks:
            rows = normalised(discarded(fused(attention(block, block.norm1(x)[0]), head_fusion), discard_ratio))
            product = rows if product is None else multiplied(rows, product)
            x = block(x)
    mean = [sum(r[j] for r in product) / len(product) for j in range(len(product))]
    row = product[0] if model.prefix else mean
    return torch.tensor(row[model.prefix :], dtype=image.dtype).reshape(model.grid)


def attention(block: nn.Module, x: Tensor) -> list[list[list[float]]]:
    """softmax(q · k / √d), a list a head."""
    q, k, _ = (t[0] for t in block.split(x[None]))
    heads = []
    for h in range(len(q)):
        rows = []
        for i in range(q.shape[1]):
            scores = [float((q[h, i] * k[h, j]).sum()) / q.shape[2] ** 0.5 for j in range(q.shape[1])]
            powers = [2.718281828459045 ** (s - max(scores)) for s in scores]
            rows.append([p / sum(powers) for p in powers])
        heads.append(rows)
    return heads


def fused(heads: list[list[list[float]]], fusion: str) -> list[list[float]]:
    size = range(len(heads[0]))
    pick = {"mean": lambda v: sum(v) / len(v), "max": max, "min": min}[fusion]
    return [[pick([head[i][j] for head in heads]) for j in size] for i in size]


def discarded(matrix: list[list[float]], ratio: float) -> list[list[float]]:
    size = len(matrix)
    order = sorted(range(size * size), key=lambda n: matrix[n // size][n % size])
    lowest = set(order[: int(ratio * size * size)]) - {0}
    return [[0.0 if i * size + j in lowest else matrix[i][j] for j in range(size)] for i in range(size)]


def normalised(matrix: list[list[float]]) -> list[list[float]]:
    size = range(len(matrix))
    skip = [[matrix[i][j] + (1.0 if i == j else 0.0) for j in size] for i in size]
    return [[value / sum(row) for value in row] for row in skip]


def multiplied(left: list[list[float]], right: list[list[float]]) -> list[list[float]]:
    size = range(len(left))
    return [[sum(left[i][k] * right[k][j] for k in size) for j in size] for i in size]
