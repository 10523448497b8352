"""Small, fast networks for tests, in 2-D and 3-D, with the properties that break explainers."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CONVOLUTIONS = {2: nn.Conv2d, 3: nn.Conv3d}
NORMS = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


class TinyCNN(nn.Module):
    """Convolutions, a norm, in-place ReLUs and dropout; the grid has a quarter of the image's sides."""

    def __init__(self, rank: int = 2, classes: int = 4, channels: int = 3) -> None:
        super().__init__()
        convolution = CONVOLUTIONS[rank]
        self.features = nn.Sequential(
            convolution(channels, 8, 3, stride=2, padding=1),
            nn.ReLU(inplace=True),
            convolution(8, 12, 3, stride=2, padding=1),
            NORMS[rank](12),
            nn.ReLU(inplace=True),
        )
        self.dropout = nn.Dropout(0.5)
        self.fc = nn.Linear(12, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.dropout(self.features(x).flatten(2).mean(-1)))


class Block(nn.Module):
    """A transformer block with fused attention."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        batch, tokens, width = x.shape
        qkv = self.qkv(x).reshape(batch, tokens, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        return qkv[0], qkv[1], qkv[2]

    def forward(self, x: Tensor) -> Tensor:
        attended = F.scaled_dot_product_attention(*self.split(self.norm1(x)))
        x = x + self.proj(attended.transpose(1, 2).flatten(2))
        return x + self.mlp(self.norm2(x))


class TinyViT(nn.Module):
    """Patches of 8 pixels after ``prefix`` tokens (0: mean pooling instead of a class token), and two blocks."""

    def __init__(self, rank: int = 2, classes: int = 4, prefix: int = 1, side: int | tuple[int, ...] = 32) -> None:
        super().__init__()
        sides = (side,) * rank if isinstance(side, int) else side
        width = 24
        patches = 1
        for s in sides:
            patches *= s // 8
        self.prefix = prefix
        self.patch = CONVOLUTIONS[rank](3, width, 8, stride=8)
        self.tokens = nn.Parameter(torch.randn(1, prefix, width))
        self.position = nn.Parameter(torch.randn(1, prefix + patches, width))
        self.blocks = nn.Sequential(Block(width, 3), Block(width, 3))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)

    def embed(self, x: Tensor) -> Tensor:
        patches = self.patch(x).flatten(2).transpose(1, 2)
        return torch.cat([self.tokens.expand(len(x), -1, -1), patches], dim=1) + self.position

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.blocks(self.embed(x)))
        return self.head(x[:, 0] if self.prefix else x.mean(dim=1))


class Reordered(TinyViT):
    """A vision transformer with mean pooling that reorders its patches when embedded, and after the first block."""

    def __init__(
        self,
        embedded: Callable[[Tensor, Tensor], Tensor] = lambda patches, extra: torch.cat([extra, patches], dim=1),
        later: Callable[[Tensor], Tensor] = lambda tokens: tokens,
    ) -> None:
        super().__init__(side=64)
        self.embedded, self.later = embedded, later

    def embed(self, x: Tensor) -> Tensor:
        patches = self.patch(x).flatten(2).transpose(1, 2)
        return self.embedded(patches, self.tokens.expand(len(x), -1, -1)) + self.position

    def forward(self, x: Tensor) -> Tensor:
        x = self.later(self.blocks[0](self.embed(x)))
        return self.head(self.norm(self.blocks[1](x)).mean(dim=1))


class Wrapped(nn.Module):
    """A model inside another, as in training code."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, x: Tensor) -> Tensor:
        return self.backbone(x)


def seeded(build: type[nn.Module], *args: object) -> nn.Module:
    """A network with fixed random weights, and with norm statistics other than the defaults."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        model = build(*args)
        for module in model.modules():
            if isinstance(module, (nn.BatchNorm2d, nn.BatchNorm3d)):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2)
    return model


def trained(model: nn.Module) -> nn.Module:
    """A network with norm statistics as after training: those of a new one are warned of where a file holds them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        for module in model.modules():
            if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 2)
                module.num_batches_tracked.fill_(1)
    return model


def images(count: int = 3, rank: int = 2, side: int | tuple[int, ...] = 32, channels: int = 3) -> Tensor:
    """Fixed noise images."""
    sides = (side,) * rank if isinstance(side, int) else side
    return torch.randn(count, channels, *sides, generator=torch.Generator().manual_seed(1))


def still(build) -> nn.Module:
    """A network whose attention differs between places."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build()
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1 and ("attn" in name or "head" in name or "latent" in name):
                nn.init.normal_(parameter, std=1.5 / parameter.shape[-1] ** 0.5)
    return model.eval()
