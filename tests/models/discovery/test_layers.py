"""Which layer is chosen, and how its output lies on the picture."""

from __future__ import annotations

import pytest
import timm
import torch
from timm.models.tnt import TNT
from torch import Tensor, nn

import pellucid
from pellucid.core.runtime import Runtime
from pellucid.errors import GradientError, LayerError, NoSpatialLayerError
from pellucid.models.discovery.tokens import Grids, infer
from pellucid.models.engine import Pass
from pellucid.models.session.session import Session
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


def test_convolutions_within_patches_make_no_grid_of_the_picture() -> None:
    """As in TNT, at the size where it is not alike."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = TNT(img_size=96, inner_dim=8, embed_dim=32, depth=2, num_heads_outer=2, num_classes=3)
    found = pellucid.explain(model, images(1, side=96), targets="all")
    assert found.attributions.shape == (1, 3, 6, 6)
    assert found.layers == ("blocks.1.norm_out",)


def test_a_setting_that_is_changed_is_noticed() -> None:
    """A timm transformer that is told afterwards to classify by another token."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = timm.create_model("vit_tiny_patch16_224", img_size=64, depth=2, num_classes=3, fc_norm=False)
    assert pellucid.explain(model, images(1, side=64)).layers == ("blocks.1.norm1",)
    model.global_pool = "avg"
    assert pellucid.explain(model, images(1, side=64)).layers == ("norm",)


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


def test_full_gradients_of_torchs_own_encoder_whichever_axis_is_the_images() -> None:
    class Encoder(TinyViT):
        def __init__(self, first: bool) -> None:
            super().__init__()
            layer = nn.TransformerEncoderLayer(24, 3, 32, batch_first=first, norm_first=True)
            self.first = first
            self.blocks = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
            for parameter in self.blocks.parameters():
                nn.init.normal_(parameter, std=0.2)

        def forward(self, x: Tensor) -> Tensor:
            x = self.embed(x)
            x = self.blocks(x) if self.first else self.blocks(x.transpose(0, 1)).transpose(0, 1)
            return self.head(self.norm(x)[:, 0])

    one, other = seeded(Encoder, True).eval(), seeded(Encoder, False).eval()
    other.load_state_dict(one.state_dict())
    for batch in (images(2), images(17)):  # as many images as tokens, too
        found = [pellucid.explain(model, batch, method="fullgrad", targets=1) for model in (one, other)]
        torch.testing.assert_close(found[0].attributions, found[1].attributions, rtol=1e-4, atol=1e-5)
        gaps = [each.checks["completeness_gap"] for each in found]
        torch.testing.assert_close(gaps[0], gaps[1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("layer", ["blocks.0", "blocks.1", "blocks.2", "blocks.3.norm1"])
def test_tokens_in_an_order_of_their_own_are_put_where_their_patches_are(layer: str) -> None:
    """Hiera's: what changes where the picture changes lies there, also before the last stage."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = timm.create_model(
            "hiera_tiny_224", img_size=(128, 64), embed_dim=16, num_heads=1, stages=(1, 1, 1, 1), num_classes=3
        )
    model = model.eval()
    for part in model.modules():  # attention would spread the change
        if hasattr(part, "attn"):
            nn.init.zeros_(part.attn.proj.weight)
    dark, spot = torch.zeros(1, 3, 128, 64), torch.zeros(1, 3, 128, 64)
    spot[:, :, 64:96, 32:64] = 1
    one, other = Pass.of(Session.of(model, Runtime()), torch.cat([dark, spot]), [layer]).activations()[:, 0]
    change = (one - other).square().sum(0)
    rows, columns = change.shape
    assert divmod(int(change.argmax()), columns)[0] in range(rows // 2, 3 * rows // 4 + 1)
    assert divmod(int(change.argmax()), columns)[1] in range(columns // 2, columns)


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


def test_windows_and_attention_are_no_layers_to_explain() -> None:
    swin = timm.create_model(
        "swin_tiny_patch4_window7_224", img_size=56, window_size=7, depths=(1, 1), num_heads=(1, 2)
    )
    with pytest.raises(LayerError, match=r"layers.0.blocks.0.attn.*no spatial positions"):
        pellucid.explain(swin, images(1, side=56), layers=["layers.0.blocks.0.attn"])
    vit = timm.create_model("vit_tiny_patch16_224", img_size=64, depth=2)
    for block in vit.blocks:
        block.attn.fused_attn = False
    with pytest.raises(LayerError, match=r"attn_drop.*no spatial positions"):
        pellucid.explain(vit, images(1, side=64), layers=["blocks.1.attn.attn_drop"])


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
