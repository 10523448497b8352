"""Overlays: every type of image, sizes, order, and the way back to the original."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from pellucid.core.geometry import Geometry
from pellucid.core.image import Image
from pellucid.errors import OptionError, ShapeError
from pellucid.render import blend, overlay


def explained(batch: int = 1, maps: int = 1, size: tuple[int, ...] = (6, 8)) -> Any:
    generator = torch.Generator().manual_seed(0)
    return SimpleNamespace(heatmaps=torch.rand(batch, maps, *size, generator=generator))


def same(a: Pillow.Image, b: Pillow.Image, slack: int = 0) -> bool:
    return bool(np.abs(np.asarray(a).astype(int) - np.asarray(b).astype(int)).max() <= slack)


def test_red_is_evidence_and_blue_is_its_absence() -> None:
    heat = torch.zeros(1, 1, 4, 4)
    heat[..., 1, 2] = 1
    drawn = np.asarray(overlay(SimpleNamespace(heatmaps=heat), torch.zeros(1, 1, 4, 4))[0]).astype(int)
    assert drawn[1, 2, 0] > 50 > drawn[1, 2, 2]
    assert drawn[0, 0, 2] > 50 > drawn[0, 0, 0]


def test_one_overlay_per_image_and_map_in_order() -> None:
    explanation, images = explained(2, 3), torch.rand(2, 3, 6, 8)
    drawn = overlay(explanation, images, alpha=0.4, colormap="viridis")
    expected = [blend(images[b], explanation.heatmaps[b, k], 0.4, "viridis") for b in range(2) for k in range(3)]
    assert [image.tobytes() for image in drawn] == [image.tobytes() for image in expected]


def test_all_image_types_give_the_same_overlay() -> None:
    levels = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    pixels = torch.from_numpy(levels / 255).float().permute(2, 0, 1)
    image = Image(pixels, pixels, Geometry.identity((6, 8)))
    explanation = explained()
    (expected,) = overlay(explanation, pixels)
    channels_first = levels.transpose(2, 0, 1)
    kinds: list[Any] = [
        pixels[None],
        pixels.numpy(),
        levels,
        levels[None],
        channels_first,
        channels_first[None],
    ]
    kinds += [torch.from_numpy(levels).permute(2, 0, 1), Pillow.fromarray(levels), image, levels / 255]
    for kind in kinds:
        assert same(overlay(explanation, kind)[0], expected)
    for single in (pixels, pixels.numpy(), levels, channels_first, Pillow.fromarray(levels), image):
        assert same(overlay(explanation, [single])[0], expected)


def test_grey_images() -> None:
    levels = np.arange(48, dtype=np.uint8).reshape(6, 8)
    explanation = explained()
    (expected,) = overlay(explanation, torch.from_numpy(levels / 255)[None])
    deep = Pillow.fromarray(levels.astype(np.uint16) * 257)
    for kind in (levels, Pillow.fromarray(levels), Pillow.fromarray(levels).convert("LA"), deep):
        assert same(overlay(explanation, kind)[0], expected)


def test_a_mixed_list() -> None:
    levels = np.full((6, 8), 200, np.uint8)
    assert len(overlay(explained(3), [levels, Pillow.fromarray(levels), torch.rand(3, 6, 8)])) == 3


def test_a_normalised_input_is_scaled_per_image() -> None:
    pixels = torch.rand(2, 3, 6, 8, generator=torch.Generator().manual_seed(1))
    flat = pixels.flatten(1)
    pixels = ((flat - flat.amin(1, True)) / (flat.amax(1, True) - flat.amin(1, True))).view_as(pixels)
    explanation = explained(2)
    scale, shift = torch.tensor([4.0, 900]).view(2, 1, 1, 1), torch.tensor([-2.0, 100]).view(2, 1, 1, 1)
    for drawn, expected in zip(overlay(explanation, pixels * scale + shift), overlay(explanation, pixels), strict=True):
        assert same(drawn, expected, slack=1)


def test_an_image_with_nan_is_drawn() -> None:
    broken = torch.full((1, 6, 8), float("nan"))
    assert len(overlay(explained(), broken)) == 1
    assert len(overlay(explained(), torch.full((1, 6, 8), -7.0))) == 1


def test_the_map_is_drawn_on_the_original() -> None:
    original = torch.zeros(1, 40, 60)
    source = Image(original, original, Geometry.identity((40, 60)))
    geometry = source.geometry.resize((20, 30)).crop((0, 5), (20, 20))
    prepared = Image(torch.zeros(1, 20, 20), torch.zeros(3, 20, 20), geometry, source=source)
    heat = torch.zeros(1, 1, 20, 20)
    heat[..., 5:10, 10:15] = 1
    (drawn,) = overlay(SimpleNamespace(heatmaps=heat), prepared, alpha=1)
    assert drawn.size == (60, 40)
    red = np.argwhere(np.asarray(drawn)[..., 0].astype(int) > 120)
    assert np.abs(red.min(0) - [10, 30]).max() <= 1
    assert np.abs(red.max(0) - [19, 39]).max() <= 1


def test_another_size_is_refused_and_both_are_named() -> None:
    with pytest.raises(ShapeError, match=r"6 × 8.*5 × 8"):
        overlay(explained(), torch.zeros(1, 1, 5, 8))
    pixels = torch.zeros(1, 9, 9)
    with pytest.raises(ShapeError, match=r"6 × 8.*9 × 9"):
        overlay(explained(), Image(pixels, pixels, Geometry.identity((9, 9))))


@pytest.mark.parametrize("channels", [2, 4])
def test_other_channels_are_refused(channels: int) -> None:
    with pytest.raises(ShapeError, match="1 or 3 channels"):
        overlay(explained(), torch.zeros(1, channels, 6, 8))


@pytest.mark.parametrize("images", [torch.zeros(3, 1, 6, 8), torch.zeros(1, 6, 8), [torch.zeros(1, 6, 8)], []])
def test_another_number_of_images_is_refused(images: Any) -> None:
    with pytest.raises(ShapeError, match="2 images were explained"):
        overlay(explained(2), images)


def test_volumes_are_refused() -> None:
    with pytest.raises(ShapeError, match="2-D"):
        overlay(explained(size=(4, 6, 8)), torch.zeros(1, 1, 4, 6, 8))


@pytest.mark.parametrize("given", ["a.png", None, 7])
def test_other_types_are_refused(given: Any) -> None:
    with pytest.raises(OptionError, match="expected to draw on"):
        overlay(explained(), given)


def test_options_are_checked() -> None:
    with pytest.raises(OptionError, match="alpha"):
        overlay(explained(), torch.zeros(1, 6, 8), alpha=2)
    with pytest.raises(OptionError, match="colour map"):
        overlay(explained(), torch.zeros(1, 6, 8), colormap="nonsense")
