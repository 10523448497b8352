"""Colours, blending and the colour bar."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from matplotlib import colormaps
from PIL import Image as Pillow

from pellucid.errors import OptionError, ShapeError
from pellucid.render import blend, colourise, heatmap_image, with_colour_bar

RAMP = torch.linspace(0, 1, 256).reshape(1, 256)


@pytest.mark.parametrize("colormap", ["jet", "viridis", "magma_r"])
def test_colours_equal_those_of_matplotlib(colormap: str) -> None:
    colours = colourise(RAMP, colormap)
    assert colours.shape == (1, 256, 3)
    assert colours.dtype == np.uint8
    expected = colormaps[colormap](np.arange(256), bytes=True)[:, :3]
    assert np.abs(colours[0].astype(int) - expected).max() <= 6  # a ramp in float32 may fall one step beside


def test_warm_colours_are_strong_evidence() -> None:
    (lowest, half, strongest) = colourise(torch.tensor([[0, 0.5, 1.0]]))[0].astype(int)
    assert lowest[2] > 100 > lowest[0]
    assert half[1] > 200
    assert strongest[0] > 100 > strongest[2]


def test_values_outside_the_range_are_clamped() -> None:
    odd = torch.tensor([[float("nan"), -1, 2, float("inf")]])
    assert np.array_equal(colourise(odd), colourise(torch.tensor([[0.0, 0, 1, 0]])))


@pytest.mark.parametrize(("name", "hint"), [("virdis", "viridis"), ("", "such as jet"), ("Jet", "jet")])
def test_an_unknown_colour_map_is_refused_with_near_names(name: str, hint: str) -> None:
    with pytest.raises(OptionError, match=hint):
        colourise(RAMP, name)


def test_a_heatmap_is_two_dimensional() -> None:
    for shape in ((3, 4, 5), (4,)):
        with pytest.raises(ShapeError, match=r"\(H, W\)"):
            colourise(torch.zeros(shape))
        with pytest.raises(ShapeError, match=r"\(H, W\)"):
            heatmap_image(torch.zeros(shape))


@pytest.mark.parametrize("alpha", [0, 0.3, 0.5, 1])
@pytest.mark.parametrize("channels", [1, 3])
def test_blending_pixel_by_pixel(alpha: float, channels: int) -> None:
    generator = torch.Generator().manual_seed(0)
    pixels, heat = torch.rand(channels, 5, 7, generator=generator), torch.rand(5, 7, generator=generator)
    drawn = np.asarray(blend(pixels, heat, alpha, "viridis"))
    assert drawn.shape == (5, 7, 3)
    colours = colourise(heat, "viridis")
    for row in range(5):
        for column in range(7):
            for c in range(3):
                level = round(pixels[c % channels, row, column].item() * 255)
                exact = alpha * int(colours[row, column, c]) + (1 - alpha) * level
                assert abs(drawn[row, column, c] - exact) <= 0.5 + 1e-3


@pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan")])
def test_alpha_must_be_between_0_and_1(alpha: float) -> None:
    with pytest.raises(OptionError, match="between 0 and 1"):
        blend(torch.zeros(1, 2, 2), torch.zeros(2, 2), alpha)


@pytest.mark.parametrize("shape", [(2, 4, 4), (4, 4), (3, 4, 5)])
def test_an_image_that_does_not_fit_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match="expected"):
        blend(torch.zeros(shape), torch.zeros(4, 4))


def test_maps_that_need_a_gradient_are_drawn() -> None:
    blend(torch.zeros(1, 2, 2), torch.zeros(2, 2, requires_grad=True))


def test_the_heatmap_image_is_white_where_evidence_is() -> None:
    image = heatmap_image(torch.tensor([[0, 0.5, 1]]))
    assert image.mode == "L"
    assert np.asarray(image).tolist() == [[0, 128, 255]]


@pytest.mark.parametrize(("width", "height"), [(32, 32), (300, 40), (224, 224), (64, 513), (1024, 1024), (8, 4096)])
def test_the_bar_leaves_the_image_unchanged(width: int, height: int) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)
    drawn = np.asarray(with_colour_bar(Pillow.fromarray(noise)))
    top = (drawn.shape[0] - height) // 2
    assert np.array_equal(drawn[top : top + height, :width], noise)
    assert drawn.shape[0] >= height
    assert drawn.shape[1] > width
    assert (drawn[:, -1] == 255).all()


def test_the_bar_has_its_maximum_at_the_top() -> None:
    drawn = np.asarray(with_colour_bar(Pillow.new("L", (224, 224)))).astype(int)
    unit = 10
    bar = drawn[:, 224 + unit + 5]
    assert bar[unit + 3, 0] > 100 > bar[unit + 3, 2]
    assert bar[-unit - 4, 2] > 100 > bar[-unit - 4, 0]


def test_the_bar_refuses_an_unknown_colour_map() -> None:
    with pytest.raises(OptionError):
        with_colour_bar(Pillow.new("RGB", (64, 64)), "nonsense")


@pytest.mark.parametrize("channels", [1, 3])
def test_what_was_cropped_away_stays_as_it_is(channels: int) -> None:
    pixels = torch.rand(channels, 4, 5, generator=torch.Generator().manual_seed(1))
    inside = torch.zeros(4, 5, dtype=torch.bool)
    inside[1:3, 1:4] = True
    drawn = torch.from_numpy(np.array(blend(pixels, torch.ones(4, 5), 0.5, "jet", inside)))
    plain = (pixels * 255).round().byte().expand(3, 4, 5).movedim(0, -1)
    assert torch.equal(drawn[~inside], plain[~inside])
    assert not torch.equal(drawn[inside], plain[inside])
