"""Where a network puts its patches among its tokens is found, and the maps are put there."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import pellucid
from pellucid.core.runtime import Runtime
from pellucid.models.engine import Pass
from pellucid.models.session.session import Session
from tests.networks import TinyViT, images, seeded


@pytest.mark.parametrize("prefix", [0, 1, 2, 5])
@pytest.mark.parametrize("side", [32, (32, 16), (16, 48)])
def test_tokens_are_put_where_their_patches_are(prefix: int, side: int | tuple[int, int]) -> None:
    """A bright patch in a black picture is where the embedding's map is brightest."""
    model = seeded(TinyViT, 2, 4, prefix, side).eval()
    model.blocks = nn.Sequential(nn.Identity())
    with torch.no_grad():
        model.patch.weight.fill_(1)
        model.position.zero_()
    size = (side, side) if isinstance(side, int) else side
    batch = torch.zeros(1, 3, *size)
    batch[:, :, -8:, 8:16] = 1
    embedded = Pass.of(Session.of(model, Runtime()), batch, ["blocks.0"]).activations()
    assert embedded.shape == (1, 1, 24, size[0] // 8, size[1] // 8)
    peak = int(embedded[0, 0].sum(0).argmax())
    assert divmod(peak, size[1] // 8) == (size[0] // 8 - 1, 1)


class Behind(TinyViT):
    """The class token, and registers, behind the patches."""

    def embed(self, x: Tensor) -> Tensor:
        return torch.roll(super().embed(x), -self.prefix, dims=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.blocks(self.embed(x)))
        return self.head(x[:, -self.prefix])


class ByColumns(TinyViT):
    """The patches column by column."""

    def embed(self, x: Tensor) -> Tensor:
        tokens = super().embed(x)
        rows, columns = x.shape[2] // 8, x.shape[3] // 8
        patches = tokens[:, self.prefix :].unflatten(1, (rows, columns)).transpose(1, 2).flatten(1, 2)
        return torch.cat([tokens[:, : self.prefix], patches], dim=1)


EVERYWHERE = ["attention", "rollout", "gradient_rollout", "legrad", "gradcam", "hirescam", "scorecam", "fullgrad"]


@pytest.mark.parametrize("method", EVERYWHERE)
@pytest.mark.parametrize("prefix", [1, 3])
@pytest.mark.parametrize("kind", [Behind, ByColumns])
def test_patches_are_where_they_are(kind: type[nn.Module], prefix: int, method: str) -> None:
    """Attention does not ask in which order its tokens come: the maps are the same."""
    side = (32, 48)
    plain, other = (seeded(each, 2, 4, prefix, side) for each in (TinyViT, kind))
    layers = {"layers": ["blocks.0"]} if "cam" in method else {}
    one, two = (
        pellucid.explain(model, images(2, side=side), method=method, targets="all", **layers)
        for model in (plain, other)
    )
    torch.testing.assert_close(one.attributions, two.attributions, rtol=1e-4, atol=1e-6)
