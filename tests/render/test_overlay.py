"""Overlays: every type of image, sizes, order, and the way back to the original."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from torch import Tensor

import pellucid
from pellucid import phantom
from pellucid.core.caption import caption
from pellucid.core.explanation import Explanation
from pellucid.core.geometry import Geometry
from pellucid.core.image import Image
from pellucid.core.shown import why_empty
from pellucid.errors import OptionError, ShapeError
from pellucid.render import blend, overlay, with_caption, with_colour_bar


def explained(batch: int = 1, maps: int = 1, size: tuple[int, ...] = (6, 8)) -> Explanation:
    generator = torch.Generator().manual_seed(0)
    return of(torch.rand(batch, maps, *size, generator=generator))


def of(heatmaps: Tensor, attributions: Tensor | None = None, **more: Any) -> Explanation:
    """An explanation of these maps, none of them empty if nothing else is given."""
    count, maps = heatmaps.shape[:2]
    facts: dict[str, Any] = {
        "logits": torch.zeros(count, 4),
        "targets": torch.arange(maps).expand(count, maps),
        "degenerate": torch.zeros(count, maps, dtype=torch.bool),
        "why_degenerate": ((None,) * maps,) * count,
        "method": "hirescam",
        "layers": ("layer4",),
    }
    return Explanation(heatmaps, heatmaps if attributions is None else attributions, **facts | more)


def same(a: Pillow.Image, b: Pillow.Image, slack: int = 0) -> bool:
    return bool(np.abs(np.asarray(a).astype(int) - np.asarray(b).astype(int)).max() <= slack)


def test_red_is_evidence_and_blue_is_its_absence() -> None:
    heat = torch.zeros(1, 1, 4, 4)
    heat[..., 1, 2] = 1
    drawn = np.asarray(overlay(of(heat), torch.zeros(1, 1, 4, 4))[0]).astype(int)
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
    (drawn,) = overlay(of(heat), prepared, alpha=1)
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


@pytest.mark.parametrize("given", ["a.png", [None], 7])
def test_other_types_are_refused(given: Any) -> None:
    with pytest.raises(OptionError, match="expected to draw on"):
        overlay(explained(), given)


def test_options_are_checked() -> None:
    with pytest.raises(OptionError, match="alpha"):
        overlay(explained(), torch.zeros(1, 6, 8), alpha=2)
    with pytest.raises(OptionError, match="colour map"):
        overlay(explained(), torch.zeros(1, 6, 8), colormap="nonsense")


# Signed maps, empty maps, and what stands beside an overlay.

VALUES = torch.tensor([[4.0, -2, 0, -8], [2, 0, -4, 8]])[None, None]
"""Attributions (1, 1, 2, 4); the largest magnitude is 8."""
GREY = torch.full((1, 2, 4), 100 / 255)


def naive_tint(level: float, value: float, alpha: float) -> list[int]:
    """One grey pixel under signed evidence: red for the class, blue against it, as opaque as it is strong."""
    opacity = alpha * abs(value)
    colour = (255, 0, 0) if value > 0 else (0, 0, 255)
    return [round(opacity * channel + (1 - opacity) * level) for channel in colour]


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_red_speaks_for_the_class_and_blue_against_it(alpha: float) -> None:
    (drawn,) = overlay(of(VALUES.relu() / 8, VALUES), GREY, alpha=alpha, signed=True)
    expected = [[naive_tint(100, value / 8, alpha) for value in row] for row in VALUES[0, 0].tolist()]
    assert np.abs(np.asarray(drawn).astype(int) - expected).max() <= 1
    if alpha == 1:
        assert np.asarray(drawn)[1, 3].tolist() == [255, 0, 0]
        assert np.asarray(drawn)[0, 3].tolist() == [0, 0, 255]
        assert np.asarray(drawn)[1, 1].tolist() == [100, 100, 100]  # no evidence, no colour


def test_each_signed_map_has_a_scale_of_its_own() -> None:
    values = torch.cat([VALUES, VALUES / 1000], dim=1)
    one, other = overlay(of(values.relu(), values), GREY, signed=True)
    assert same(one, other)


def test_a_coarse_signed_map_is_drawn_at_its_place_on_the_original() -> None:
    original = torch.ones(1, 40, 60)
    source = Image(original, original, Geometry.identity((40, 60)))
    prepared = Image(
        torch.zeros(1, 20, 20),
        torch.zeros(1, 20, 20),
        source.geometry.resize((20, 30)).crop((0, 5), (20, 20)),
        source=source,
    )
    values = torch.tensor([[-1.0, 0], [0, 1]])[None, None]
    (drawn,) = overlay(of(torch.zeros(1, 1, 20, 20), values), prepared, alpha=1, signed=True)
    levels = np.asarray(drawn)
    assert levels[:5, :9].min() == 255  # cropped away before the network
    assert levels[5, 15].tolist() == [0, 0, 255]
    assert levels[35, 45].tolist() == [255, 0, 0]


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("reason", ["constant", "not finite"])
def test_an_empty_map_leaves_the_image_as_it_is(reason: str, signed: bool) -> None:
    values = torch.full((1, 1, 2, 4), float("nan") if reason == "not finite" else 3.0)
    empty = of(torch.zeros(1, 1, 2, 4), values, degenerate=torch.ones(1, 1) > 0, why_degenerate=((reason,),))
    (drawn,) = overlay(empty, GREY, signed=signed)
    assert (np.asarray(drawn) == 100).all()
    (annotated,) = overlay(empty, GREY, signed=signed, annotated=True)
    assert (np.asarray(annotated)[:2, :4] == 100).all()
    assert (np.asarray(annotated)[:2, 4:] == 255).all()  # no colour bar
    assert same(annotated, with_caption(drawn, caption(empty, reason=reason)))


def test_evidence_against_a_class_is_nothing_only_without_the_sign() -> None:
    values = -VALUES.abs()
    reason = "all evidence negative"
    against = of(torch.zeros(1, 1, 2, 4), values, degenerate=torch.ones(1, 1) > 0, why_degenerate=((reason,),))
    assert (np.asarray(overlay(against, GREY)[0]) == 100).all()
    (drawn,) = overlay(against, GREY, alpha=1, signed=True)
    assert np.asarray(drawn)[0, 3].tolist() == [0, 0, 255]
    assert why_empty(against, False) == ((reason,),)
    assert why_empty(against, True) == ((None,),)
    flat = dataclasses.replace(against, attributions=torch.full_like(values, -3))
    assert why_empty(flat, True) == (("constant",),)


def test_annotations_stand_beside_the_overlay() -> None:
    explanation, images = explained(2, 3), torch.rand(2, 3, 6, 8)
    plain = overlay(explanation, images)
    for index, one in enumerate(overlay(explanation, images, annotated=True)):
        number, column = divmod(index, 3)
        expected = with_caption(with_colour_bar(plain[index]), caption(explanation, number, column))
        assert one.tobytes() == expected.tobytes()
        top = (120 - 6) // 2  # in the middle of the shortest colour bar
        assert np.array_equal(np.asarray(one)[top : top + 6, :8], np.asarray(plain[index]))


def test_signed_maps_are_refused_where_there_is_no_sign() -> None:
    without = of(VALUES.relu(), provenance={"signed": False}, method="gradcam")
    with pytest.raises(OptionError, match=r"those of gradcam show no evidence against a class: take attnlrp, .*rise$"):
        overlay(without, GREY, signed=True)
    fused = of(VALUES.relu(), layers=("layer3", "layer4"))
    with pytest.raises(OptionError, match=r"layers layer3, layer4 are combined without their sign"):
        overlay(fused, GREY, signed=True)


# Without images.


def test_overlays_are_drawn_on_the_images_that_an_explanation_holds() -> None:
    model = phantom.cnn()
    first, second = (torch.rand(1, side, side, generator=torch.Generator().manual_seed(side)) for side in (90, 70))
    files = [Image(one, one, Geometry.identity(tuple(one.shape[1:]))) for one in (first, second)]
    images = [pellucid.prepare(model, one) for one in files]
    explanation = pellucid.explain(model, images)
    drawn = overlay(explanation)
    assert [one.size for one in drawn] == [(90, 90), (70, 70)]
    for one, given in zip(drawn, overlay(explanation, images), strict=True):
        assert np.array_equal(np.asarray(one), np.asarray(given))
    signed = overlay(explanation[1], alpha=0.3)
    assert np.array_equal(np.asarray(signed[0]), np.asarray(overlay(explanation, images, 0.3)[1]))


def test_without_images_the_error_says_what_to_give_and_it_works(tmp_path: Path) -> None:
    model, batch = phantom.cnn(), torch.randn(2, 1, 64, 64, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)
    explanation = pellucid.explain(model, batch)
    with pytest.raises(OptionError) as caught:
        overlay(explanation)
    assert "\n" not in str(caught.value)
    assert "give pellucid.overlay(explanation, images)" in str(caught.value)
    assert "explain what pellucid.prepare(model, …) returns" in str(caught.value)
    assert len(overlay(explanation, batch)) == 2
    photograph = tmp_path / "a.png"
    Pillow.fromarray(np.arange(4096, dtype=np.uint32).astype(np.uint8).reshape(64, 64)).save(photograph)
    assert len(overlay(pellucid.explain(model, pellucid.prepare(model, pellucid.read_image(photograph))))) == 1
