"""Every method once more, loop by loop, from the paper's formula: no code of the package's is used."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from torch import Tensor, nn

Replica = Callable[[nn.Module, Tensor, int, str], Tensor]
REPLICAS: dict[str, Replica] = {}


def replica(name: str) -> Callable[[Replica], Replica]:
    def register(function: Replica) -> Replica:
        REPLICAS[name] = function
        return function

    return register


def recorded(model: nn.Module, image: Tensor, target: int, layer: str) -> tuple[Tensor, Tensor]:
    """A layer's output and gradient (C, *grid) for one image, by one whole backward pass."""
    kept: dict[str, Tensor] = {}

    def keep(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        kept["output"] = output
        return output.clone()  # a ReLU after it may work in place

    handle = dict(model.named_modules())[layer].register_forward_hook(keep)
    try:
        with torch.enable_grad():
            logits = model(image[None].clone().requires_grad_())
    finally:
        handle.remove()
    (gradient,) = torch.autograd.grad(logits[0, target], kept["output"])
    return placed(model, kept["output"].detach()[0]), placed(model, gradient[0])


def placed(model: nn.Module, output: Tensor) -> Tensor:
    """Tokens (T, C) as (C, *grid): what comes before the patches is dropped."""
    if output.ndim > 2:
        return output
    prefix, sides = model.prefix, model.grid
    return output[prefix:].T.reshape(output.shape[1], *sides)


def places(grid: torch.Size) -> itertools.product:
    return itertools.product(*(range(n) for n in grid))


@replica("gradcam")
def gradcam(model: nn.Module, image: Tensor, target: int, layer: str) -> Tensor:
    a, g = recorded(model, image, target, layer)
    result = torch.zeros(a.shape[1:], dtype=a.dtype)
    for c in range(len(a)):
        weight = sum(g[c][p] for p in places(a.shape[1:])) / g[c].numel()
        for p in places(a.shape[1:]):
            result[p] += weight * a[c][p]
    return result.clamp(min=0)


@replica("gradcam++")
def gradcam_plusplus(model: nn.Module, image: Tensor, target: int, layer: str) -> Tensor:
    a, g = recorded(model, image, target, layer)
    a = a.clamp(min=0)
    result = torch.zeros(a.shape[1:], dtype=a.dtype)
    for c in range(len(a)):
        total = sum(a[c][p] for p in places(a.shape[1:]))
        weight = 0.0
        for p in places(a.shape[1:]):
            d = g[c][p]
            if d > 0:  # eq. 19, and the ReLU of eq. 5
                weight += d**2 / (2 * d**2 + total * d**3) * d
        for p in places(a.shape[1:]):
            result[p] += weight * a[c][p]
    return result.clamp(min=0)


@replica("hirescam")
def hirescam(model: nn.Module, image: Tensor, target: int, layer: str) -> Tensor:
    a, g = recorded(model, image, target, layer)
    result = torch.zeros(a.shape[1:], dtype=a.dtype)
    for c in range(len(a)):
        for p in places(a.shape[1:]):
            result[p] += g[c][p] * a[c][p]
    return result


@replica("rollout")
def rollout(model: nn.Module, image: Tensor, target: int, layer: str) -> Tensor:
    return rollout_with(model, image, "mean", 0.0)


def rollout_with(model: nn.Module, image: Tensor, fusion: str, discard: float) -> Tensor:
    """Abnar & Zuidema on the tests' TinyViT, its attention computed entry by entry."""
    with torch.no_grad():
        x = model.embed(image[None])
        product: list[list[float]] | None = None
        for block in model.blocks:
            rows = normalised(discarded(fused(attention(block, block.norm1(x)[0]), fusion), discard))
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
