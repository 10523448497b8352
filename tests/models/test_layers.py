"""Which layer is chosen, and how its output lies on the picture."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import Tensor, nn

import pellucid
from pellucid.core.runtime import Runtime
from pellucid.errors import NoSpatialLayerError
from pellucid.models.engine import View, opened
from pellucid.models.engine.batch import Batch
from pellucid.models.tokens import infer
from tests.networks import TinyCNN, TinyViT, Wrapped, images, seeded


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
    ],
)
def test_layouts(shape, size, grids, last, expected) -> None:
    found = infer(shape, size, grids, last)
    assert (found and (found.kind, found.grid, found.prefix)) == expected


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
    with opened(model, Runtime()) as session:
        embedded = View(Batch(session, batch, ["blocks.0"]), "blocks.0").activations(batch)
    assert embedded.shape == (1, 1, 24, size[0] // 8, size[1] // 8)
    peak = int(embedded[0, 0].sum(0).argmax())
    assert divmod(peak, size[1] // 8) == (size[0] // 8 - 1, 1)


class Flat(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 10), nn.ReLU(), nn.Linear(10, 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def test_nothing_spatial_says_what_was_looked_for_and_found() -> None:
    with pytest.raises(NoSpatialLayerError, match=r"looked for in .* layers; .*\(192,\).*layers=\[…\]"):
        pellucid.explain(Flat(), images(1, side=8))


def test_no_size_that_fits_says_what_the_model_said() -> None:
    with pytest.raises(NoSpatialLayerError, match=r"takes none of them .*input_size="):
        pellucid.recommended_layers(Flat())


def test_a_score_that_nothing_reaches_says_so() -> None:
    class Constant(TinyCNN):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * 0

    with pytest.raises(NoSpatialLayerError, match="none a gradient"):
        pellucid.explain(seeded(Constant), images(1))


@pytest.mark.parametrize("rank", [2, 3])
def test_models_in_train_mode_wrapped_and_of_any_rank(rank: int) -> None:
    assert pellucid.recommended_layers(Wrapped(seeded(TinyCNN, rank)).train(), (32,) * rank) == ["backbone.features.4"]


def test_of_a_class_token_vit_the_last_layer_whose_patches_go_on() -> None:
    assert pellucid.recommended_layers(seeded(TinyViT), (32, 32)) == ["blocks.1.norm1"]
    assert pellucid.recommended_layers(seeded(TinyViT, 2, 4, 0), (32, 32)) == ["norm"]


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("vit_tiny_patch16_224", "blocks.11.norm1"),
        ("deit_tiny_distilled_patch16_224", "blocks.11.norm1"),
        ("convnext_atto", "stages"),
        ("efficientnet_lite0", "bn2"),
    ],
)
def test_timms(name: str, layer: str) -> None:
    assert pellucid.recommended_layers(timm.create_model(name)) == [layer]


def test_a_custom_trunk_that_ends_with_pooling_is_explained_there() -> None:
    trunk = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.MaxPool2d(2)
    )
    model = nn.Sequential()
    model.add_module("features", trunk)
    model.add_module("pool", nn.AdaptiveAvgPool2d(1))
    model.add_module("flatten", nn.Flatten())
    model.add_module("fc", nn.Linear(4, 2))
    assert pellucid.recommended_layers(model, (32, 32)) == ["features.5"]


def test_the_choice_is_forgotten_when_the_layer_goes() -> None:
    model = seeded(TinyCNN)
    assert pellucid.explain(model, images(1)).layers == ("features.4",)
    model.features = nn.Sequential(*list(model.features)[:4])
    assert pellucid.explain(model, images(1)).layers == ("features.3",)
