"""How outputs of every shape lie on the image, and how they are brought there and back."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import pellucid
from pellucid.models.discovery.tokens import Grids, Layout, infer
from tests.networks import CONVOLUTIONS, TinyViT, images, seeded


@pytest.mark.parametrize(
    ("shape", "size", "grids", "last", "expected"),
    [
        ((1, 512, 7, 7), (224, 224), [(112, 112)], None, ("channels_first", (7, 7), 0)),
        ((1, 7, 7, 768), (224, 224), [(56, 56)], 768, ("channels_last", (7, 7), 0)),
        ((1, 7, 5, 768), (224, 160), [(56, 40)], 768, ("channels_last", (7, 5), 0)),
        ((1, 7, 7, 7), (224, 224), [(7, 7)], None, ("channels_first", (7, 7), 0)),
        ((1, 7, 7, 7), (224, 224), [(7, 7)], 7, ("channels_last", (7, 7), 0)),
        ((1, 512, 1, 1), (224, 224), [(112, 112)], None, None),
        ((1, 3, 197, 64), (224, 224), [(14, 14)], None, None),  # queries of three heads
        ((1, 64, 4, 8, 8), (16, 32, 32), [(8, 16, 16)], None, ("channels_first", (4, 8, 8), 0)),
        ((1, 4, 8, 8, 64), (16, 32, 32), [(8, 16, 16)], 64, ("channels_last", (4, 8, 8), 0)),
        ((1, 197, 768), (224, 224), [(14, 14)], 768, ("tokens", (14, 14), 1)),
        ((1, 198, 768), (224, 224), [(14, 14)], 768, ("tokens", (14, 14), 2)),
        ((1, 196, 768), (224, 224), [(14, 14)], 768, ("tokens", (14, 14), 0)),
        ((1, 13, 768), (32, 64), [(2, 4)], 768, ("tokens", (2, 4), 5)),
        ((1, 49, 256), (224, 224), [(56, 56)], 256, ("tokens", (7, 7), 0)),
        ((1, 50, 768), (224, 224), [], 768, ("tokens", (7, 7), 1)),  # patches cut without a convolution
        ((1, 2, 768), (224, 224), [(14, 14)], 768, None),
        ((1, 512), (224, 224), [(14, 14)], None, None),
        ((64, 49, 96), (224, 224), [(56, 56)], 96, None),  # windows
        ((64, 96, 7, 7), (224, 224), [(56, 56), (7, 7)], None, None),
        ((1, 8, 49, 96), (224, 224), [(56, 56), (7, 7)], 96, None),  # queries of eight heads
        ((1, 4, 196, 196), (224, 224), [(14, 14)], None, None),  # attention before its softmax
        ((1, 196, 196, 4), (224, 224), [(14, 14)], 4, None),
        ((1, 64, 56, 56), (224, 224), [(28, 28)], None, ("channels_first", (56, 56), 0)),  # enlarged
        ((1, 64, 5, 7), (33, 45), [(11, 15)], None, ("channels_first", (5, 7), 0)),  # edges were cut
        ((1, 64, 6, 6), (224, 224), [(7, 7)], None, ("channels_first", (6, 6), 0)),
        ((50, 1, 768), (224, 224), [(7, 7)], 768, ("tokens", (7, 7), 1)),  # tokens before images
        ((1, 580, 768), (384, 384), [], 768, ("tokens", (24, 24), 4)),  # registers, no convolution
        ((1, 12, 580, 64), (384, 384), [], 64, None),
        ((1, 4, 7, 7, 768), (8, 224, 224), [(4, 56, 56)], 768, ("channels_last", (4, 7, 7), 0)),  # frames are kept
        ((1, 32, 768), (64, 64), [], 768, None),  # patches of 8 × 4, of which nothing tells
        ((1, 69, 64), (64, 64), [(8, 8)], 64, None),  # a Mixer's (B, C, T), as long as nothing says otherwise
        ((1, 393, 768), (16, 224, 224), [(8, 56, 56), (8, 7, 7)], 768, ("tokens", (8, 7, 7), 1)),
        ((1, 28, 768), (24, 24, 24), [(6, 6, 6)], 768, ("tokens", (3, 3, 3), 1)),
    ],
)
def test_layouts(shape, size, grids, last, expected) -> None:
    found = infer(shape, Grids(size, tuple(grids)), last)
    assert (found and (found.kind, found.grid, found.prefix)) == expected


def test_tokens_as_wide_as_there_are_cells() -> None:
    """Five tokens before 8 × 8 patches of width 64, which their embedding says."""
    assert infer((1, 69, 64), Grids((64, 64), ((8, 8),), widths=frozenset({64})), 64).prefix == 5


def test_a_norm_of_queries_is_no_picture() -> None:
    """It works on the last axis, which therefore is no place."""
    grids = Grids((256, 256), ((64, 64),))
    assert infer((1, 4, 64, 64), grids, 64).kind == "channels_first"
    assert infer((1, 4, 64, 64), grids, 64, leaf=True) is None


def test_tokens_before_images_are_explained_alike() -> None:
    """Blocks on (T, B, C), as torch's own encoder layers are by default."""

    class Turned(nn.Module):
        def __init__(self, block: nn.Module) -> None:
            super().__init__()
            self.block = block

        def forward(self, x: Tensor) -> Tensor:
            return self.block(x.transpose(0, 1)).transpose(0, 1)

    class TokensFirst(TinyViT):
        def forward(self, x: Tensor) -> Tensor:
            tokens = self.blocks(self.embed(x).transpose(0, 1)).transpose(0, 1)
            return self.head(self.norm(tokens)[:, 0])

    plain, turned = seeded(TinyViT), seeded(TokensFirst)
    turned.blocks = nn.Sequential(*map(Turned, turned.blocks))
    for method in ("gradcam", "hirescam", "scorecam", "shapleycam", "fullgrad"):
        layers = None if method == "fullgrad" else ["blocks.0"]
        one = pellucid.explain(plain, images(2), method=method, targets="all", layers=layers)
        other = pellucid.explain(turned, images(2), method=method, targets="all", layers=layers)
        torch.testing.assert_close(one.attributions, other.attributions, rtol=1e-4, atol=1e-6)


def strided(rank: int, channels: list[int], strides: list[object]) -> nn.Sequential:
    pairs = zip(channels, channels[1:], strides, strict=False)
    return nn.Sequential(*[CONVOLUTIONS[rank](old, new, 3, stride, 1) for old, new, stride in pairs])


@pytest.mark.parametrize(
    ("network", "shape", "grid"),
    [
        (strided(2, [3, 8, 8, 8, 8, 14], [2] * 5), (3, 300, 214), (10, 7)),
        (strided(3, [1, 8, 8], [(1, 2, 2)] * 2), (1, 16, 64, 64), (16, 16, 16)),
        (strided(2, [1, 16, 16], [(4, 2), (2, 1)]), (1, 64, 64), (8, 32)),
    ],
    ids=["as many channels as rows fit", "anisotropic volume", "anisotropic picture"],
)
def test_a_convolutions_channels_are_not_read_as_places(
    network: nn.Module, shape: tuple[int, ...], grid: tuple[int, ...]
) -> None:
    class Pooled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.f = network
            self.fc = nn.LazyLinear(3)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(self.f(x).flatten(2).mean(-1))

    model, batch = Pooled(), torch.randn(1, *shape)
    model(batch)
    found = pellucid.explain(model, batch, targets=0)
    assert found.attributions.shape[2:] == grid
    assert found.layers == ("f",) or found.layers[0] == f"f.{len(network) - 1}"


LAYOUTS = {
    "channels first": (Layout("channels_first", (2, 3)), (2, 5, 2, 3)),
    "channels last": (Layout("channels_last", (2, 3)), (2, 2, 3, 5)),
    "tokens": (Layout("tokens", (2, 3), prefix=1), (2, 7, 5)),
    "tokens behind": (Layout("tokens", (2, 3), prefix=1), (2, 9, 5)),
    "tokens first": (Layout("tokens", (2, 3), prefix=2, batch_axis=1), (8, 2, 5)),
    "tokens in an order": (Layout("tokens", (2, 3), prefix=1, order=(0, 2, 4, 1, 3, 5)), (2, 7, 5)),
}


@pytest.mark.parametrize("kind", LAYOUTS)
def test_what_is_brought_to_the_grid_and_back_is_where_it_was(kind: str) -> None:
    layout, shape = LAYOUTS[kind]
    output = (
        torch.arange(120.0)[: torch.Size(shape).numel()].reshape(shape)
        if len(shape) == 4
        else images(1, side=16).flatten()[: torch.Size(shape).numel()].reshape(shape)
    )
    spatial = layout.spatial(output)
    assert spatial.shape == (2, 5, 2, 3)
    assert torch.equal(layout.restored(spatial, output), output)
    changed = layout.restored(spatial + 1, output)
    assert int((changed != output).sum()) == spatial.numel(), "non-spatial tokens stay as they are"
    assert torch.equal(layout.spatial(changed), spatial + 1)


def test_each_cell_gets_the_token_that_the_order_says() -> None:
    tokens = torch.tensor([90, 0, 1, 2, 3, 91])[None, :, None]
    assert Layout("tokens", (2, 2), prefix=1).spatial(tokens)[0, 0].tolist() == [[0, 1], [2, 3]]
    turned = Layout("tokens", (2, 2), prefix=1, order=(0, 2, 1, 3))
    assert turned.spatial(tokens)[0, 0].tolist() == [[0, 2], [1, 3]]


def test_patches_by_columns_have_their_order_and_those_before_their_place() -> None:
    grids = Grids((16, 24), ((2, 3),), before=1, by_columns=True)
    found = infer((1, 9, 4), grids)
    assert (found.prefix, found.order) == (1, (0, 2, 4, 1, 3, 5))
    assert infer((1, 6, 4), grids).prefix == 0
    own = Grids((16, 24), ((2, 3),), orders={6: (5, 4, 3, 2, 1, 0)})
    assert infer((1, 7, 4), own).order == (5, 4, 3, 2, 1, 0)
