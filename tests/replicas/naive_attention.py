"""Replicas of methods for transformers: rollouts on matrices as lists of rows, relevance layer by layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tests.replicas.naive import Target, replica, target_score


@replica("rollout")
def rollout(
    model: nn.Module, image: Tensor, target: int, layer: str, head_fusion: str = "mean", discard_ratio: float = 0.0
) -> Tensor:
    """Abnar & Zuidema 2020 on the tests' TinyViT: R = Ā_L … Ā_1, Ā the rows of A + I scaled to sum 1."""
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
    """softmax(q · k / √d) of each head, as lists of rows."""
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
    """One matrix from those of the heads: the mean, maximum or minimum of each entry."""
    size = range(len(heads[0]))
    pick = {"mean": lambda v: sum(v) / len(v), "max": max, "min": min}[fusion]
    return [[pick([head[i][j] for head in heads]) for j in size] for i in size]


def discarded(matrix: list[list[float]], ratio: float) -> list[list[float]]:
    """The matrix with its lowest ⌊ratio · T²⌋ entries set to 0, but never the entry (0, 0)."""
    size = len(matrix)
    order = sorted(range(size * size), key=lambda n: matrix[n // size][n % size])
    lowest = set(order[: int(ratio * size * size)]) - {0}
    return [[0.0 if i * size + j in lowest else matrix[i][j] for j in range(size)] for i in range(size)]


def normalised(matrix: list[list[float]]) -> list[list[float]]:
    """The rows of the matrix plus the identity, each divided by its sum."""
    size = range(len(matrix))
    residual = [[matrix[i][j] + (1.0 if i == j else 0.0) for j in size] for i in size]
    return [[value / sum(row) for value in row] for row in residual]


def multiplied(left: list[list[float]], right: list[list[float]]) -> list[list[float]]:
    """The product of two matrices."""
    size = range(len(left))
    return [[sum(left[i][k] * right[k][j] for k in size) for j in size] for i in size]


@replica("attention")
def attention_alone(model: nn.Module, image: Tensor, target: int, layer: str) -> Tensor:
    """Caron et al. 2021: the last block's attention, averaged over heads: the class token's row, else the mean row."""
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
    """A pass of one image through the tests' TinyViT that keeps each block's attention weights (heads, T, T)."""

    def __init__(self, model: nn.Module, image: Tensor) -> None:
        self.model = model
        self.weights: list[Tensor] = []
        self.tokens: list[Tensor] = []
        """The tokens (T, C) after each block."""
        with torch.enable_grad():
            x = model.embed(image[None])[0].detach().requires_grad_()
            for block in model.blocks:
                x = self.through(block, x)
                self.tokens.append(x)

    def through(self, block: nn.Module, x: Tensor) -> Tensor:
        """The output of a block for tokens (T, C)."""
        q, k, v = (t[0] for t in block.split(block.norm1(x)[None]))
        self.weights.append((q @ k.transpose(1, 2) / q.shape[2] ** 0.5).softmax(dim=-1))
        x = x + block.proj((self.weights[-1] @ v).transpose(0, 1).flatten(1))
        return x + block.mlp(block.norm2(x))

    def score(self, tokens: Tensor, target: Target) -> Tensor:
        """The score of tokens (T, C), through the last norm and the classifier."""
        with torch.enable_grad():
            normed = self.model.norm(tokens)
            return target_score(self.model.head(normed[0] if self.model.prefix else normed.mean(dim=0)), target)


@replica("gradient_rollout")
def gradient_rollout(model: nn.Module, image: Tensor, target: Target, layer: str) -> Tensor:
    """Chefer et al. 2021: R ← R + Ā R block by block, from R = I; Ā is the heads' mean of relu(A ⊙ ∂z/∂A)."""
    unfused = Unfused(model, image)
    gradients = torch.autograd.grad(unfused.score(unfused.tokens[-1], target), unfused.weights)
    size = range(unfused.weights[0].shape[-1])
    relevance = [[1.0 if i == j else 0.0 for j in size] for i in size]
    for weights, gradient in zip(unfused.weights, gradients, strict=True):
        products = (weights.detach() * gradient).tolist()
        positive = [[sum(max(head[i][j], 0.0) for head in products) / len(products) for j in size] for i in size]
        added = multiplied(positive, relevance)
        relevance = [[relevance[i][j] + added[i][j] for j in size] for i in size]
    # Without the identity that R began with.
    rows = [[relevance[i][j] - (1.0 if i == j else 0.0) for j in size] for i in size]
    row = rows[0] if model.prefix else [sum(row[j] for row in rows) / len(rows) for j in size]
    return torch.tensor(row[model.prefix :], dtype=image.dtype).reshape(model.grid)


@replica("legrad")
def legrad(model: nn.Module, image: Tensor, target: Target, layer: str) -> Tensor:
    """Bousselham et al. 2024: Σ over blocks of the mean over heads and queries of relu(∂z_l/∂A_l).

    z_l is the score read from block l's tokens, through the last norm and the classifier.
    """
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
    """Achtibat et al. 2024 on the tests' TinyViT: relevance from the logits to the pixels, by each function's rule."""
    with torch.no_grad():
        patches = model.patch(image[None])
        embedded = model.embed(image[None])[0]
        inputs = [embedded]
        for block in model.blocks:
            inputs.append(block(inputs[-1][None])[0])
        normed = model.norm(inputs[-1])
        read = normed[0] if model.prefix else normed.mean(dim=0)
        logits = model.head(read)
    # The relevance of the logits: z itself, or for a function of the logits each one times its derivative.
    with torch.enable_grad():
        leaf = logits.detach().requires_grad_()
        (slope,) = torch.autograd.grad(target_score(leaf, target), leaf)
    with torch.no_grad():
        relevance = linear_rule(read, model.head.weight, logits, slope * logits)
        rows = torch.zeros_like(normed)
        if model.prefix:
            rows[0] = relevance
        else:
            rows[:] = normed / len(normed) * relevance / read
        rows = norm_rule(inputs[-1], model.norm, rows)
        for block, x in zip(reversed(model.blocks), reversed(inputs[:-1]), strict=True):
            rows = block_rule(block, x, rows)
        # The embedding is patch plus position: relevance is divided in proportion to the two summands.
        ratio = (rows / embedded)[model.prefix :]
        of_patches = (ratio * patches[0].flatten(1).T).T.reshape(patches[0].shape)
        return convolution_rule(image, model.patch, patches[0], of_patches)


def linear_rule(x: Tensor, weight: Tensor, y: Tensor, relevance: Tensor) -> Tensor:
    """The relevance of a linear layer's input: R_i = Σ_j x_i w_ji R_j / y_j, for one token or several."""
    return x * ((relevance / y) @ weight)


def convolution_rule(image: Tensor, conv: nn.Module, y: Tensor, relevance: Tensor) -> Tensor:
    """The same rule for a convolution over patches that do not overlap, summed over the image's channels."""
    quotient, size = relevance / y, conv.kernel_size
    found = torch.zeros_like(image)
    for position in torch.cartesian_prod(*(torch.arange(n) for n in y.shape[1:])).reshape(-1, len(size)).tolist():
        part = (slice(None), *(slice(p * s, (p + 1) * s) for p, s in zip(position, size, strict=True)))
        weights = torch.einsum("o,oc...->c...", quotient[(slice(None), *position)], conv.weight)
        found[part] = image[part] * weights
    return found.sum(dim=0)


def norm_rule(x: Tensor, norm: nn.LayerNorm, relevance: Tensor) -> Tensor:
    """The rule of a layer norm, with σ as a constant: y_j = Σ_i (δ_ij − 1/n) x_i w_j / σ + b_j is linear."""
    spread = (x.var(dim=1, unbiased=False, keepdim=True) + norm.eps).sqrt()
    n = x.shape[1]
    found = torch.zeros_like(x)
    for t in range(len(x)):
        matrix = (torch.eye(n, dtype=x.dtype) - 1 / n) * norm.weight[:, None] / spread[t]
        y = matrix @ x[t] + norm.bias
        found[t] = linear_rule(x[t], matrix, y, relevance[t])
    return found


def block_rule(block: nn.Module, x: Tensor, relevance: Tensor) -> Tensor:
    """The relevance of a block's input x, from that of its output, through both residual branches."""
    normed = block.norm1(x)
    q, k, v = (t[0] for t in block.split(normed[None]))
    logits = q @ k.transpose(1, 2) / q.shape[2] ** 0.5
    weights = logits.softmax(dim=-1)
    values = weights @ v
    joined = values.transpose(0, 1).flatten(1)
    branch = block.proj(joined)
    middle = x + branch
    first, activation, second = block.mlp
    hidden = first(block.norm2(middle))
    activated = activation(hidden)
    out = second(activated)
    # The second branch, backward: linear, activation (relevance is passed on unchanged), linear, norm.
    through = linear_rule(activated, second.weight, out, relevance * out / (middle + out))
    through = linear_rule(block.norm2(middle), first.weight, hidden, through)
    at_middle = relevance * middle / (middle + out) + norm_rule(middle, block.norm2, through)
    # The first branch: each factor of a product gets half; the softmax's rule is x_i (R_i − s_i Σ_j R_j).
    through = linear_rule(joined, block.proj.weight, branch, at_middle * branch / middle)
    quotient = through.reshape(len(x), *values.shape[::2]).transpose(0, 1) / values / 2
    of_weights = weights * (quotient @ v.transpose(1, 2))
    of_values = v * (weights.transpose(1, 2) @ quotient)
    of_logits = logits * (of_weights - weights * of_weights.sum(dim=-1, keepdim=True))
    half = of_logits / logits / 2 / q.shape[2] ** 0.5
    of_queries, of_keys = q * (half @ k), k * (half.transpose(1, 2) @ q)
    at_qkv = torch.stack([of_queries, of_keys, of_values]).permute(2, 0, 1, 3).flatten(1)
    through = linear_rule(normed, block.qkv.weight, block.qkv(normed), at_qkv)
    return at_middle * x / middle + norm_rule(x, block.norm1, through)
