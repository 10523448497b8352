"""Patches that are cut without a convolution over the image: their grid and order are measured, or tokens refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import pellucid
from pellucid.core.inputs import Inputs
from pellucid.core.runtime import Runtime
from pellucid.errors import LayerError, NoSpatialLayerError
from pellucid.models.discovery.recording import profile_of
from pellucid.models.session.session import Session
from tests.networks import seeded

Cut = Callable[[Tensor], Tensor]


class Cutting(nn.Module):
    """Tokens (B, T, features) cut by reshaping, a class token in front or behind, and the mean of what lights up."""

    def __init__(self, cut: Cut, features: int, before: int = 1, behind: int = 0) -> None:
        super().__init__()
        self.cut = cut
        self.embed = nn.Linear(features, 12)
        self.before, self.behind = (nn.Parameter(torch.randn(1, count, 12)) for count in (before, behind))
        self.norm = nn.LayerNorm(12)
        self.head = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.embed(self.cut(x))
        extra = [one.expand(len(x), -1, -1) for one in (self.before, self.behind)]
        return self.head(self.norm(torch.cat([extra[0], tokens, extra[1]], dim=1)).mean(1))


def rows(x: Tensor) -> Tensor:
    """Patches of 8 × 4 pixels, row by row."""
    return x.unfold(2, 8, 8).unfold(3, 4, 4).permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)


def columns(x: Tensor) -> Tensor:
    """The same, column by column."""
    return x.unfold(2, 8, 8).unfold(3, 4, 4).permute(0, 3, 2, 1, 4, 5).flatten(3).flatten(1, 2)


def place_by_place(x: Tensor) -> Tensor:
    """Videos (B, C, T, H, W): the frames of a place follow one another."""
    cut = x.unfold(3, 8, 8).unfold(4, 8, 8)  # (B, C, T, h, w, 8, 8)
    return cut.permute(0, 3, 4, 2, 1, 5, 6).flatten(4).flatten(1, 3)


CASES: dict[str, tuple[Cut, int, tuple[int, ...], tuple[int, ...]]] = {
    "rows": (rows, 96, (3, 32, 24), (4, 6)),
    "columns": (columns, 96, (3, 32, 24), (4, 6)),
    "place by place": (place_by_place, 128, (2, 6, 16, 24), (6, 2, 3)),
}


@pytest.mark.parametrize("extra", [(1, 0), (0, 1), (0, 0), (3, 2)])
@pytest.mark.parametrize("name", CASES)
def test_each_cell_lies_where_the_image_was_changed(name: str, extra: tuple[int, int]) -> None:
    cut, features, shape, grid = CASES[name]
    model = seeded(Cutting, cut, features, *extra).eval()
    image = torch.zeros(1, *shape)
    sides = [side // cells for side, cells in zip(shape[1:], grid, strict=True)]
    with torch.no_grad():
        session = Session.of(model, Runtime())
        layout = profile_of(session, Inputs.of(image)).layout("norm", model.norm)
        assert layout is not None
        assert layout.grid == grid
        outputs: list[Tensor] = []
        model.norm.register_forward_hook(lambda _m, _i, output: outputs.append(layout.spatial(output)))
        plain = model(image)
        del plain
        for cell in (tuple(range(len(grid))), tuple(cells - 1 for cells in grid), (1,) * len(grid)):
            changed = image.clone()
            part = tuple(slice(at * side, (at + 1) * side) for at, side in zip(cell, sides, strict=True))
            changed[(0, slice(None), *part)] = torch.randn(1, generator=torch.Generator().manual_seed(1))
            model(changed)
            moved = (outputs[-1] - outputs[0]).abs().sum(dim=1)[0]
            assert torch.unravel_index(moved.argmax(), moved.shape) == cell


@pytest.mark.parametrize(
    ("size", "patch"), [((32, 32, 16), (8, 8, 4)), ((32, 32, 32), (8, 16, 4)), ((32,) * 3, (8,) * 3)]
)
def test_monais_vit_with_perceptron_patches(size: tuple[int, ...], patch: tuple[int, ...]) -> None:
    from monai.networks.nets import ViT

    torch.manual_seed(0)
    model = ViT(
        in_channels=1,
        img_size=size,
        patch_size=patch,
        hidden_size=24,
        mlp_dim=48,
        num_layers=2,
        num_heads=2,
        proj_type="perceptron",
        classification=True,
        num_classes=2,
        post_activation="none",
    ).eval()
    found = pellucid.explain(model, torch.randn(1, 1, *size), layers=["blocks.1.norm1"])
    assert found.attributions.shape[2:] == tuple(side // one for side, one in zip(size, patch, strict=True))


def test_timesformer_has_places_of_frames() -> None:
    from transformers import TimesformerConfig, TimesformerForVideoClassification

    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
    torch.manual_seed(0)
    config = TimesformerConfig(image_size=32, patch_size=8, num_frames=4, num_labels=3, **sizes)

    class Video(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = TimesformerForVideoClassification(config)

        def forward(self, video: Tensor) -> Tensor:
            return self.network(pixel_values=video.transpose(1, 2)).logits

    model, video = Video().eval(), torch.randn(1, 3, 4, 32, 32)
    layer = "network.timesformer.embeddings"
    found = profile_of(Session.of(model, Runtime()), Inputs.of(video))
    layout = found.layout(layer, model.get_submodule(layer))
    assert layout is not None
    assert layout.grid == (4, 4, 4)
    assert layout.order[:5] == (0, 4, 8, 12, 16)  # of the first frame, the places of the first row, then of the next


class Slices(nn.Module):
    """Each slice (B, S, H, W) becomes a token without a convolution; then a recurrent network over the slices."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(4096, 8)
        self.lstm = nn.LSTM(8, 8, batch_first=True)
        self.fc = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.lstm(self.embed(x.flatten(2)))[0].mean(1))


@pytest.mark.parametrize("slices", [15, 16, 20, 64])
def test_slices_are_no_grid_and_the_remedy_works(slices: int) -> None:
    model, stack = seeded(Slices).eval(), torch.randn(1, slices, 64, 64)
    with pytest.raises(NoSpatialLayerError, match="the tokens follow no parts of the image") as caught:
        pellucid.explain(model, stack)
    with pytest.raises(LayerError, match="no spatial positions"):
        pellucid.explain(model, stack, layers=["lstm"])
    name = str(caught.value).rpartition("such as ")[2].split(" or ")[0]
    assert pellucid.explain(model, stack, name).heatmaps.shape == (1, 1, 64, 64)


def test_views_through_a_transformer_are_no_grid() -> None:
    class Views(Slices):
        def __init__(self) -> None:
            super().__init__()
            self.mix = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(self.mix(self.embed(x.flatten(2))).mean(1))

    with pytest.raises(NoSpatialLayerError, match="the tokens follow no parts of the image"):
        pellucid.explain(seeded(Views).eval(), torch.randn(1, 4, 64, 64))


def test_a_grid_that_fits_is_measured_once() -> None:
    model = seeded(Cutting, rows, 96).eval()
    sizes: list[int] = []
    session = Session.of(model, Runtime())
    session.network.embed.register_forward_pre_hook(lambda _m, given: sizes.append(len(given[0])))
    profile_of(session, Inputs.of(torch.zeros(1, 3, 32, 24)))
    assert sizes.count(5) == 1  # the noise, three ends and the last corner
