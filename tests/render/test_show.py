"""``show`` and the HTML of an explanation with images: each image beside its maps, as ``overlay`` draws them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image as Pillow
from torch import Tensor

import pellucid
from pellucid.core.caption import caption
from pellucid.core.explanation import Explanation
from pellucid.core.style import Style
from pellucid.errors import OptionError, ShapeError
from pellucid.render.volume import drawing
from tests.networks import TinyCNN, images, seeded
from tests.render.test_notebook import HOSTILE, Page, explained

PREPARING = pellucid.Preprocessing(resize=40, crop=(32, 32))


def read(size: tuple[int, int], number: int = 0) -> pellucid.Image:
    """A smooth image with different corners."""
    down, across = (torch.linspace(0, 1, side) for side in size)
    pixels = torch.stack([down[:, None].expand(size), across.expand(size), (down[:, None] * across + number) % 1])
    return pellucid.Image(pixels, pixels, pellucid.Geometry.identity(size))


def found_on(*read_images: pellucid.Image, method: str = "gradcam") -> Explanation:
    return pellucid.explain(seeded(TinyCNN).eval(), [PREPARING(one) for one in read_images], method, "all")


def test_each_image_stands_beside_its_maps() -> None:
    found = found_on(read((60, 48)), read((60, 48), 1))
    page = Page(found._repr_html_())
    overlays = pellucid.overlay(found, list(found.images))
    assert len(page.drawn) == 2 * (1 + 4)
    for number in range(2):
        plain, *maps = page.drawn[5 * number : 5 * number + 5]
        np.testing.assert_array_equal(
            plain, np.rint(255 * found.images[number].original.pixels.numpy()).transpose(1, 2, 0)
        )
        for one, expected in zip(maps, overlays[4 * number :], strict=False):
            np.testing.assert_array_equal(one, np.asarray(expected))
        for column in range(4):
            assert f"explains {caption(found, number, column, found.why_degenerate[number][column])}" in page.text
    assert "draws them on the images" not in page.text
    assert "draws them on the images" in Page(explained()._repr_html_()).text


def test_large_images_are_drawn_small_where_they_would_be() -> None:
    cropped = pellucid.Preprocessing(resize=64, crop=(32, 32))(read((1200, 900)))  # half of the image, in its middle
    found = pellucid.explain(seeded(TinyCNN).eval(), cropped, targets=2)
    assert not found.degenerate.any()
    drawn = Page(pellucid.show(found).html).drawn
    assert {one.shape for one in drawn} == {(512, 384, 3)}
    (expected, *_) = pellucid.overlay(found, found.images[0])
    small = np.asarray(expected.resize((384, 512), Pillow.Resampling.BOX), np.float32)
    assert np.abs(drawn[1] - small).mean() < 3
    assert np.abs(drawn[1][::-1] - small).mean() > 30


def test_several_methods_stand_side_by_side() -> None:
    one = read((60, 48))
    first, second = found_on(one), found_on(one, method="hirescam")
    page = Page(pellucid.show([first, second.one(0, 2)]).html)
    assert page.text.startswith("gradcam at features.4 1 image × 4 mapshirescam at features.4 1 image × 1 map")
    assert page.text.count("the image") == 1
    assert len(page.drawn) == 1 + 4 + 1
    np.testing.assert_array_equal(page.drawn[-1], np.asarray(pellucid.overlay(second.one(0, 2), first.images[0])[0]))
    options = {"alpha": 0.3, "signed": True}
    signed = Page(pellucid.show(second, **options).html).drawn
    for drawn, expected in zip(signed[1:], pellucid.overlay(second, second.images[0], **options), strict=True):
        np.testing.assert_array_equal(drawn, np.asarray(expected))


@pytest.mark.parametrize("form", [lambda x: x, list, lambda x: [one.numpy() for one in x]])
def test_tensors_and_arrays_are_drawn_on(form) -> None:
    batch = images(2).sigmoid()
    found = explained(2, 1)
    drawn = Page(pellucid.show(found, form(batch)).html).drawn
    expected = pellucid.overlay(found, batch)
    shown = [drawn[1], drawn[3]]
    for one, overlay in zip(shown, expected, strict=True):
        np.testing.assert_array_equal(one, np.asarray(overlay))


def test_a_volume_is_shown_by_the_slices_of_the_peaks() -> None:
    volumes = images(1, 3, (16, 8, 12)).sigmoid()
    found = pellucid.explain(seeded(TinyCNN, 3).eval(), volumes, targets=torch.tensor([[0, 1]]))
    heat = torch.zeros(1, 2, 16, 8, 12)
    heat[0, 0, 11, 3, 4] = heat[0, 1, 5, 2, 2] = 1
    found = dataclasses.replace(found, heatmaps=heat, why_degenerate=((None, None),))
    for given in (volumes, volumes[0]):
        page = Page(pellucid.show(found, given).html)
        assert [f"slice {n} of 16" in page.text for n in (11, 5, 3)] == [True, True, False]
        image = pellucid.Image(volumes[0], volumes[0], pellucid.Geometry.identity((16, 8, 12)))
        for drawn, column, index in ((page.drawn[1], 0, 11), (page.drawn[2], 1, 5)):
            expected = drawing(image, heat[0, column], Style()).plane(0, index, 256)
            np.testing.assert_array_equal(drawn, np.asarray(expected))
    assert len(page.drawn) == 3


class Views(TinyCNN):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.flatten(0, 1)).unflatten(0, x.shape[:2]).amax(1)


def test_a_sequence_is_shown_image_by_image() -> None:
    views = torch.stack([images(3), images(3).flip(-1)]).sigmoid()
    found = pellucid.explain(seeded(Views).eval(), views, targets=1)
    assert found.is_sequence
    drawn = Page(pellucid.show(found, views).html).drawn
    assert len(drawn) == 2 * 3 * 2
    for number in range(2):
        for member in range(3):
            expected = pellucid.overlay(found.member(member)[number], views[number, member])[0]
            np.testing.assert_array_equal(drawn[2 * (3 * number + member) + 1], np.asarray(expected))
    with pytest.raises(ShapeError, match="a sequence of 3 images was explained, 2 were given"):
        pellucid.show(found, views[:, :2])


def test_nothing_hostile_and_nobody_s_name_gets_into_the_page() -> None:
    found = dataclasses.replace(found_on(read((60, 48))), classes=HOSTILE)
    page = Page(pellucid.show([found, found]).html)
    assert {tag for tag, _ in page.tags} <= {"div", "span", "b", "br", "img"}
    shown = pellucid.show(found)
    assert repr(shown) == f"Shown({len(shown.html)} characters of HTML)"
    assert shown._repr_html_() == shown.html


@pytest.mark.parametrize(
    ("explanations", "given", "kind", "text"),
    [
        ([], None, OptionError, "explanations were expected, got an empty list"),
        ([3], None, OptionError, "explanations were expected, got int"),
        ([explained(1), explained(2)], None, ShapeError, "explanations of the same images were expected"),
        (explained(2), images(1), ShapeError, "2 images were explained, 1 were given"),
        (explained(1), images(1, side=16), ShapeError, "the heatmaps are 32 × 32 pixels and the image is 16 × 16"),
        (explained(1), "a.png", OptionError, "a PIL image or a pellucid.Image was expected to draw on, got str"),
    ],
)
def test_what_cannot_be_shown(explanations: object, given: object, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind) as caught:
        pellucid.show(explanations, given)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_list_of_overlays_is_one_line_and_shown() -> None:
    found = found_on(read((60, 48)))
    overlays = pellucid.overlay(found, found.images[0])
    assert isinstance(overlays, list)
    assert repr(overlays) == "<4 overlays of 48×60 pixels>"
    assert repr(overlays[:0]) == "[]"
    for drawn, one in zip(Page(overlays._repr_html_()).drawn, overlays, strict=True):
        np.testing.assert_array_equal(drawn, np.asarray(one))
    large = pellucid.overlay(found_on(read((1200, 900))), found_on(read((1200, 900))).images[0])
    assert [one.shape for one in Page(large._repr_html_()).drawn] == [(512, 384, 3)] * 4
    assert large[0].size == (900, 1200)
