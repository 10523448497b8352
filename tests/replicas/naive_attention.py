"""Replicas of the attention methods: rollouts with matrices as lists, relevance propagated layer by layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tests.replicas.naive import Target, chosen, replica


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


@replica("attention")
def attention_alone(model: nn.Module, image: Tensor, target: int, layer: str) -> Tensor:
    """The last block's attention, entry by entry."""
    with torch.no_grad():
        x = model.embed(image[None])
        for block in model.blocks[:-1]:
            x = block(x)
        last = model.blocks[-1]
        matrix = fused(attention(last, last.norm1(x)[0]), "mean")
    mean = [sum(row[j] for row in matrix) / len(matrix) for j in range(len(matrix))]
    row = matrix[0] if model.prefix else mean
    return torch.tensor(row[model.prefix :], dtype=image.dtype).reshape(model.grid)


class Unfused:
    """The tests' TinyViT on one image, its attention in steps and kept: (heads, T, T) a block."""

    def __init__(self, model: nn.Module, image: Tensor) -> None:
        self.model = model
        self.weights: list[Tensor] = []
        self.tokens: list[Tensor] = []
        """After each block."""
        with torch.enable_grad():
            x = model.embed(image[None])[0].detach().requires_grad_()
            for block in model.blocks:
                x = self.through(block, x)
                self.tokens.append(x)

    def through(self, block: nn.Module, x: Tensor) -> Tensor:
        q, k, v = (t[0] for t in block.split(block.norm1(x)[None]))
        self.weights.append((q @ k.transpose(1, 2) / q.shape[2] ** 0.5).softmax(dim=-1))
        x = x + block.proj((self.weights[-1] @ v).transpose(0, 1).flatten(1))
        return x + block.mlp(block.norm2(x))

    def score(self, tokens: Tensor, target: Target) -> Tensor:
        with torch.enable_grad():
            normed = self.model.norm(tokens)
            return chosen(self.model.head(normed[0] if self.model.prefix else normed.mean(dim=0)), target)


@replica("gradient_rollout")
def gradient_rollout(model: nn.Module, image: Tensor, target: Target, layer: str) -> Tensor:
    """Chefer et al.: R = Ā_L R + R, from the identity on, with Ā the positive part of A ⊙ ∂z/∂A."""
    unfused = Unfused(model, image)
    gradients = torch.autograd.grad(unfused.score(unfused.tokens[-1], target), unfused.weights)
    size = range(unfused.weights[0].shape[-1])
    relevance = [[1.0 if i == j else 0.0 for j in size] for i in size]
    for weights, gradient in zip(unfused.weights, gradients, strict=True):
        products = (weights.detach() * gradient).tolist()
        speaks = [[sum(max(head[i][j], 0.0) for head in products) / len(products) for j in size] for i in size]
        added = multiplied(speaks, relevance)
        relevance = [[relevance[i][j] + added[i][j] for j in size] for i in size]
    rows = [[relevance[i][j] - (1.0 if i == j else 0.0) for j in size] for i in size]  # the identity says nothing
    row = rows[0] if model.prefix else [sum(row[j] for row in rows) / len(rows) for j in size]
    return torch.tensor(row[model.prefix :], dtype=image.dtype).reshape(model.grid)


@replica("legrad")
def legrad(model: nn.Module, image: Tensor, target: Target, layer: str) -> Tensor:
    """Bousselham et al.: each block's own score, from its tokens through the last norm and the classifier."""
    unfused = Unfused(model, image)
    row = torch.zeros(unfused.weights[0].shape[-1], dtype=image.dtype)
    for weights, tokens in zip(unfused.weights, unfused.tokens, strict=True):
        (gradient,) = torch.autograd.grad(unfused.score(tokens, target), weights, retain_graph=True)
        heads, queries, keys = gradient.shape
        for j in range(keys):
            positive = [max(float(gradient[h, i, j]), 0.0) for h in range(heads) for i in range(queries)]
            row[j] += sum(positive) / len(positive)
    return row[model.prefix :].reshape(model.grid)


@replica("attnlrp")
def attnlrp(model: nn.Module, image: Tensor, target: Target, layer: str) -> Tensor:
    """Achtibat et al. on the tests' TinyViT: relevance, layer by layer, by each function's own rule."""
    with torch.no_grad():
        patches = model.patch(image[None])
        embedded = model.embed(image[None])[0]
        inputs = [embedded]
        for block in model.blocks:
            inputs.append(block(inputs[-1][None])[0])
        normed = model.norm(inputs[-1])
        read = normed[0] if model.prefix else normed.mean(dim=0)
        logits = model.head(read)
    # The relevance of the logits: z itself, or each one's part in a score.
    with torch.enable_grad():
        leaf = logits.detach().requires_grad_()
        (slope,) = torch.autograd.grad(chosen(leaf, target), leaf)
    with torch.no_grad():
        relevance = linear_shares(read, model.head.weight, logits, slope * logits)
        rows = torch.zeros_like(normed)
        if model.prefix:
            rows[0] = relevance
        else:
            rows[:] = normed / len(normed) * relevance / read
        rows = norm_shares(inputs[-1], model.norm, rows)
        for block, x in zip(reversed(model.blocks), reversed(inputs[:-1]), strict=True):
            rows = block_shares(block, x, rows)
        # Of a sum of patches and positions, each gets its part.
        ratio = (rows / embedded)[model.prefix :]
        shares = (ratio * patches[0].flatten(1).T).T.reshape(patches[0].shape)
        return conv_shares(image, model.patch, patches[0], shares)


def linear_shares(x: Tensor, weight: Tensor, y: Tensor, relevance: Tensor) -> Tensor:
    """R_i = Σ_j x_i w_ji R_j / y_j, of one token or of many."""
    return x * ((relevance / y) @ weight)


def conv_shares(image: Tensor, conv: nn.Module, y: Tensor, relevance: Tensor) -> Tensor:
    """The same of patches, added up over the channels."""
    quotient, size = relevance / y, conv.kernel_size
    shares = torch.zeros_like(image)
    for place in torch.cartesian_prod(*(torch.arange(n) for n in y.shape[1:])).reshape(-1, len(size)).tolist():
        part = (slice(None), *(slice(p * s, (p + 1) * s) for p, s in zip(place, size, strict=True)))
        weights = torch.einsum("o,oc...->c...", quotient[(slice(None), *place)], conv.weight)
        shares[part] = image[part] * weights
    return shares.sum(dim=0)


def norm_shares(x: Tensor, norm: nn.LayerNorm, relevance: Tensor) -> Tensor:
    """The standard deviation is a constant: what is left is linear, y_j = Σ_i (δ_ij − 1/n) x_i w_j / σ + b_j."""
    spread = (x.var(dim=1, unbiased=False, keepdim=True) + norm.eps).sqrt()
    n = x.shape[1]
    shares = torch.zeros_like(x)
    for t in range(len(x)):
        matrix = (torch.eye(n, dtype=x.dtype) - 1 / n) * norm.weight[:, None] / spread[t]
        y = matrix @ x[t] + norm.bias
        shares[t] = linear_shares(x[t], matrix, y, relevance[t])
    return shares


def block_shares(block: nn.Module, x: Tensor, relevance: Tensor) -> Tensor:
    """Through the two residual branches of a block; x goes in, the relevance is of what comes out."""
    normed = block.norm1(x)
    q, k, v = (t[0] for t in block.split(normed[None]))
    logits = q @ k.transpose(1, 2) / q.shape[2] ** 0.5
    weights = logits.softmax(dim=-1)
    values = weights @ v
    joined = values.transpose(0, 1).flatten(1)
    branch = block.proj(joined)
    middle = x + branch
    first, activation, second = block.mlp
    inner = first(block.norm2(middle))
    bent = activation(inner)
    out = second(bent)
    # The second branch: linear, an activation function that passes relevance through, linear, norm.
    through = linear_shares(bent, second.weight, out, relevance * out / (middle + out))
    through = linear_shares(block.norm2(middle), first.weight, inner, through)
    at_middle = relevance * middle / (middle + out) + norm_shares(middle, block.norm2, through)
    # The first: of a product each factor gets half; of a softmax x_i (R_i − s_i Σ_j R_j).
    through = linear_shares(joined, block.proj.weight, branch, at_middle * branch / middle)
    quotient = through.reshape(len(x), *values.shape[::2]).transpose(0, 1) / values / 2
    of_weights = weights * (quotient @ v.transpose(1, 2))
    of_values = v * (weights.transpose(1, 2) @ quotient)
    of_logits = logits * (of_weights - weights * of_weights.sum(dim=-1, keepdim=True))
    half = of_logits / logits / 2 / q.shape[2] ** 0.5
    of_queries, of_keys = q * (half @ k), k * (half.transpose(1, 2) @ q)
    at_qkv = torch.stack([of_queries, of_keys, of_values]).permute(2, 0, 1, 3).flatten(1)
    through = linear_shares(normed, block.qkv.weight, block.qkv(normed), at_qkv)
    return at_middle * x / middle + norm_shares(x, block.norm1, through)
