"""``recommended_layers``: the table of the published API, other families, wrappers, and models without places."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
import torchvision.models as zoo
from torch import Tensor, nn

import pellucid
from pellucid.errors import LayerError, NoSpatialLayerError, ShapeError
from tests.networks import TinyCNN, TinyViT, Wrapped, images, seeded

TABLE = {
    "resnet18": "layer4",
    "densenet121": "features.norm5",
    "efficientnet_b0": "features.8",
    "vgg11": "features.20",
    "vgg16": "features.30",
    "mobilenet_v2": "features.18",
}
# Name: (side of the image, options).
OTHERS = {
    "alexnet": (96, {}),
    "squeezenet1_1": (96, {}),
    "googlenet": (64, {"init_weights": False}),
    "mobilenet_v3_small": (64, {}),
    "inception_v3": (96, {"init_weights": False}),
    "convnext_tiny": (64, {}),
    "swin_t": (64, {}),
    "vit_b_32": (64, {"image_size": 64}),
}


@contextmanager
def quickly(skip: bool) -> Iterator[None]:
    """Without the drawing of weights, which takes longer than everything else; names need none."""
    if not skip:
        yield
        return
    names = [name for name in vars(nn.init) if name.endswith("_") and not name.startswith("_")]
    kept = {name: getattr(nn.init, name) for name in names}
    try:
        for name in names:
            setattr(nn.init, name, lambda tensor, *args, **kwargs: tensor)
        yield
    finally:
        for name, function in kept.items():
            setattr(nn.init, name, function)


def built(name: str, **options: object) -> nn.Module:
    """Torchvision's network with weights that let signals through, the same every time."""
    with quickly(skip=True):
        model = zoo.get_model(name, weights=None, **options).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if parameter.ndim > 1:
                fan = parameter[0].numel()
                # One draw, repeated: 130 million normal numbers would take seconds.
                noise = torch.randn(min(parameter.numel(), 100_003), generator=generator) * (2 / fan) ** 0.5
                times = -(-parameter.numel() // len(noise))
                parameter.copy_(noise.repeat(times)[: parameter.numel()].view_as(parameter))
            else:
                parameter.fill_(1.0 if key.endswith("weight") and parameter.numel() > 1 else 0.0)
                if "layer_scale" in key:
                    parameter.fill_(1.0)
    return model


@pytest.mark.parametrize("name", TABLE)
def test_the_published_table(name: str) -> None:
    assert pellucid.recommended_layers(built(name), (64, 64)) == [TABLE[name]]


def test_the_table_without_a_size() -> None:
    with torch.random.fork_rng(devices=[]):
        assert pellucid.recommended_layers(zoo.resnet18()) == ["layer4"]


@pytest.mark.parametrize("name", OTHERS)
def test_other_families_are_explained(name: str) -> None:
    side, options = OTHERS[name]
    model = built(name, num_classes=7, **options)
    generator = torch.Generator().manual_seed(3)
    batch = torch.randn(1, 3, side, side, generator=generator)
    explanation = pellucid.explain(model, batch, method="hirescam")
    assert explanation.heatmaps.isfinite().all()
    assert not explanation.degenerate.any(), explanation.why_degenerate
    assert explanation.heatmaps.shape == (1, 1, side, side)
    grid = explanation.attributions.shape[2:]
    assert 1 < max(grid) <= side // 8
    (layer,) = explanation.layers
    assert layer in dict(model.named_modules())
    assert explanation.layers == tuple(pellucid.recommended_layers(model, (side, side)))


def test_wrappers_change_nothing_but_the_prefix() -> None:
    model = seeded(TinyCNN)
    assert pellucid.recommended_layers(model, (32, 32)) == ["features.4"]
    assert pellucid.recommended_layers(Wrapped(model), (32, 32)) == ["backbone.features.4"]
    assert pellucid.recommended_layers(nn.DataParallel(model), (32, 32)) == ["features.4"]
    assert pellucid.recommended_layers(nn.DataParallel(Wrapped(model)), (32, 32)) == ["backbone.features.4"]
    assert pellucid.recommended_layers(torch.compile(model), (32, 32)) == ["features.4"]


def test_names_with_a_wrappers_prefix_are_understood() -> None:
    model = seeded(TinyCNN)
    plain = pellucid.explain(model, images(1), targets=0, layers=["features.2"])
    for wrapper, name in (
        (nn.DataParallel(model), "module.features.2"),
        (torch.compile(model), "_orig_mod.features.2"),
    ):
        wrapped = pellucid.explain(wrapper, images(1), targets=0, layers=[name])
        torch.testing.assert_close(wrapped.heatmaps, plain.heatmaps)


def test_the_mode_does_not_matter_and_stays() -> None:
    model = seeded(TinyCNN)
    model.train()
    model.dropout.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert pellucid.recommended_layers(model, (32, 32)) == ["features.4"]
    assert model.training
    assert not model.dropout.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("size", [(32, 32), (3, 32, 32), [32, 48]])
def test_sizes(size: tuple[int, ...]) -> None:
    assert pellucid.recommended_layers(seeded(TinyCNN), size) == ["features.4"]


def test_volumes() -> None:
    assert pellucid.recommended_layers(seeded(TinyCNN, 3), (16, 16, 16)) == ["features.4"]
    assert pellucid.recommended_layers(seeded(TinyCNN, 3)) == ["features.4"]


def test_a_size_is_found_where_none_is_given() -> None:
    assert pellucid.recommended_layers(seeded(TinyViT)) == ["patch"]  # takes 32 pixels a side only


@pytest.mark.parametrize("size", [(0, 32), (-1, 32), ()])
def test_sizes_that_are_none(size: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match="above 0"):
        pellucid.recommended_layers(seeded(TinyCNN), size)


class Flat(nn.Module):
    """A linear model: its layers have no places."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3 * 8 * 8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x.flatten(1))


@pytest.mark.parametrize("method", ["gradcam", "gradcam++", "hirescam"])
def test_nothing_with_places(method: str) -> None:
    for call in (
        lambda: pellucid.recommended_layers(Flat(), (3, 8, 8)),
        lambda: pellucid.explain(Flat(), images(1, side=8), method=method),
    ):
        with pytest.raises(NoSpatialLayerError, match="layers=\\[…\\]") as caught:
            call()
        assert "\n" not in str(caught.value)


def test_a_layer_that_is_looked_at_but_cut_off() -> None:
    class Cut(TinyCNN):
        def forward(self, x: Tensor) -> Tensor:
            return self.fc(self.features(x).detach().flatten(2).mean(-1))

    with pytest.raises(NoSpatialLayerError, match="none a gradient"):
        pellucid.recommended_layers(Cut(), (32, 32))


def test_no_size_that_the_model_takes() -> None:
    with pytest.raises(NoSpatialLayerError, match="give input_size") as caught:
        pellucid.recommended_layers(Flat())
    assert "\n" not in str(caught.value)
    with pytest.raises(NoSpatialLayerError, match="1 input sizes"):
        pellucid.recommended_layers(Flat(), (3, 9, 9))


def test_a_layer_without_places_is_refused() -> None:
    with pytest.raises(LayerError, match="has no spatial positions") as caught:
        pellucid.explain(seeded(TinyCNN), images(1), layers=["fc"])
    assert "\n" not in str(caught.value)
