"""Which layer is chosen."""

from __future__ import annotations

import pytest
import timm
from torch import Tensor, nn

import pellucid
from pellucid.errors import GradientError, NoSpatialLayerError
from tests.networks import TinyCNN, TinyViT, Wrapped, images, seeded


def test_what_only_passes_through_a_module_is_not_explained_there() -> None:
    """As in CoaT, whose last block also answers with early features that nothing uses any more."""

    class Passing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(8, 8, 3, padding=1)

        def forward(self, early: Tensor, late: Tensor) -> tuple[Tensor, Tensor]:
            return early, self.conv(late)

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, stride=2, padding=1)
            self.last, self.head = Passing(), nn.Linear(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            early = self.first(x).relu()
            _, late = self.last(early, self.second(early))
            return self.head(late.mean((2, 3)))

    assert pellucid.recommended_layers(seeded(Network), (16, 16)) == ["last.conv"]
    with pytest.raises(GradientError, match="last"):
        pellucid.explain(seeded(Network), images(1, side=16), layers=["last"])


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


def test_of_an_untrained_vit_the_class_token_has_a_part_of_the_score_before_every_block() -> None:
    assert pellucid.recommended_layers(seeded(TinyViT), (32, 32)) == ["patch"]
    assert pellucid.recommended_layers(seeded(TinyViT, 2, 4, 0), (32, 32)) == ["norm"]


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("vit_tiny_patch16_224", "patch_embed.proj"),
        ("deit_tiny_distilled_patch16_224", "patch_embed.proj"),
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
