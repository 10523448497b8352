"""Changes of images, against plain loops, SciPy and Pillow."""

from __future__ import annotations

import io
import math
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
import scipy.ndimage
import torch
from PIL import Image as Pillow

import pellucid
from pellucid.changes import JPEG, Blur, Contrast, Gamma, Noise, Quantisation, Resampling, Rotation
from pellucid.core.change import CHANGES, Change, register_change
from pellucid.errors import OptionError, ShapeError

NAMES = CHANGES.names()


def pictures(count: int = 3, channels: int = 1, space: tuple[int, ...] = (17, 20)) -> torch.Tensor:
    """Smooth random images in [0, 1]."""
    rng = np.random.default_rng(count + channels)
    drawn = rng.random((count, channels, *space))
    smooth = scipy.ndimage.gaussian_filter(drawn, (0, 0, *(1.5,) * len(space)))
    low, high = smooth.min(), smooth.max()
    return torch.from_numpy((smooth - low) / (high - low)).float()


def of(change: Change, pixels: torch.Tensor) -> np.ndarray:
    return change.changed(pixels, range(len(pixels))).numpy()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("space", [(17, 20), (5, 13, 14)], ids=str)
def test_all_keep_shape_range_and_type_and_grow(name: str, space: tuple[int, ...]) -> None:
    cls, pixels = CHANGES.find(name), pictures(2, space=space)
    before = pixels.clone()
    assert cls(strength=0).changed(pixels, [0, 1]) is pixels
    sizes = []
    for level in cls.levels:
        found = cls(strength=level).changed(pixels, [0, 1])
        assert (found.shape, found.dtype) == (pixels.shape, pixels.dtype)
        assert 0 <= float(found.min()) <= float(found.max()) <= 1
        sizes.append(float((found - pixels).abs().mean()))
    assert len(cls.levels) > 2
    assert sizes[0] > 0
    assert sizes == sorted(sizes)
    assert torch.equal(pixels, before)
    assert cls.unit


@pytest.mark.parametrize("name", NAMES)
def test_an_image_does_not_depend_on_those_beside_it(name: str) -> None:
    change, pixels = CHANGES.find(name)(), pictures()
    together = change.changed(pixels, [7, 8, 9])
    state = torch.get_rng_state()
    alone = change.changed(pixels[1:2], [8])
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(together[1:2], alone)


@pytest.mark.parametrize("name", NAMES)
def test_grey_images_stay_grey(name: str) -> None:
    change, grey = CHANGES.find(name)(), pictures(2)
    found = change.changed(grey.expand(-1, 3, -1, -1), [0, 1])
    assert torch.equal(found, change.changed(grey, [0, 1]).expand(-1, 3, -1, -1))


def test_noise_is_normal_and_has_its_own_size() -> None:
    flat = torch.full((2, 1, 120, 120), 0.5)
    weak, strong = (of(Noise(strength=one), flat) - 0.5 for one in (0.01, 0.04))
    assert strong == pytest.approx(4 * weak, abs=1e-6)
    assert float(weak.std()) == pytest.approx(0.01, rel=0.03)
    assert abs(np.corrcoef(weak[0].ravel(), weak[1].ravel())[0, 1]) < 0.03
    drawn = torch.randn(1, 120, 120, generator=torch.Generator().manual_seed(1)).numpy()
    assert weak[1] == pytest.approx(0.01 * drawn, abs=1e-6)
    coloured = of(Noise(strength=0.1), pictures(1, 3))
    assert not np.allclose(coloured[0, 0] - pictures(1, 3)[0, 0].numpy(), coloured[0, 1] - pictures(1, 3)[0, 1].numpy())


@pytest.mark.parametrize("strength", [0.5, 1.3, 4.0])
def test_blur_is_scipys(strength: float) -> None:
    pixels = pictures(2, 2, (9, 11))
    expected = scipy.ndimage.gaussian_filter(
        pixels.double().numpy(),
        (0, 0, strength, strength),
        mode="nearest",
        radius=(0, 0, *(math.ceil(4 * strength),) * 2),
    )
    assert of(Blur(strength=strength), pixels) == pytest.approx(expected, abs=1e-6)


def test_blur_of_a_volume_is_along_all_axes() -> None:
    point = torch.zeros(1, 1, 9, 9, 9)
    point[..., 4, 4, 4] = 1
    found = of(Blur(strength=0.8), point)[0, 0]
    weights = np.exp(-(np.arange(-4, 5) ** 2) / (2 * 0.8**2))
    weights /= weights.sum()
    assert found == pytest.approx(np.einsum("i,j,k->ijk", weights, weights, weights), abs=1e-6)


def compressed(image: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Pillow.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(Pillow.open(io.BytesIO(file.getvalue())))


def test_jpeg_is_pillows() -> None:
    for channels in (1, 2, 3):
        pixels = pictures(2, channels)
        levels = np.round(pixels.numpy() * 255).astype(np.uint8)
        found = of(JPEG(strength=60), pixels) * 255
        for image, own in zip(levels, found, strict=True):
            if channels == 3:
                expected = compressed(np.ascontiguousarray(image.transpose(1, 2, 0)), 40).transpose(2, 0, 1)
            else:
                expected = np.stack([compressed(one, 40) for one in image])
            assert own == pytest.approx(expected, abs=1e-3)


def test_jpeg_compresses_volumes_slice_by_slice() -> None:
    volume = pictures(1, 1, (4, 17, 18))
    found = of(JPEG(strength=60), volume)
    for number in range(4):
        assert np.array_equal(found[:, :, number], of(JPEG(strength=60), volume[:, :, number]))


def test_contrast_gamma_and_quantisation_by_hand() -> None:
    values = torch.tensor([[[[0.1, 0.3], [0.5, 0.7]]]])
    assert of(Contrast(strength=0.25), values).ravel() == pytest.approx([0.175, 0.325, 0.475, 0.625])
    assert of(Contrast(strength=1), values).ravel() == pytest.approx([0.4] * 4)
    assert of(Gamma(strength=1), values).ravel() == pytest.approx([0.01, 0.09, 0.25, 0.49])
    assert of(Quantisation(strength=6), values).ravel() == pytest.approx([0, 1 / 3, 2 / 3, 2 / 3])
    assert of(Quantisation(strength=7), values).ravel() == pytest.approx([0, 0, 0, 1])


def bilinear(image: np.ndarray, y: float, x: float) -> float:
    """The value between pixels, that of the edge beyond it."""
    y, x = min(max(y, 0), image.shape[0] - 1), min(max(x, 0), image.shape[1] - 1)
    top, left = min(int(y), image.shape[0] - 2), min(int(x), image.shape[1] - 2)
    down, right = y - top, x - left
    rows = image[top : top + 2, left : left + 2]
    return float(np.array([1 - down, down]) @ rows @ np.array([1 - right, right]))


def test_a_rotation_takes_each_pixel_from_where_it_was() -> None:
    image = pictures(1)[0, 0].double().numpy()
    found = of(Rotation(strength=20), pictures(1))[0, 0]
    middle = [(side - 1) / 2 for side in image.shape]
    angle = math.radians(20)
    for row in range(image.shape[0]):
        for column in range(image.shape[1]):
            up, right = middle[0] - row, column - middle[1]
            # what is at an angle a now was at a − 20° before, counterclockwise
            before = math.cos(angle) * right + math.sin(angle) * up, -math.sin(angle) * right + math.cos(angle) * up
            expected = bilinear(image, middle[0] - before[1], middle[1] + before[0])
            assert found[row, column] == pytest.approx(expected, abs=1e-5)


def test_a_quarter_turn_is_exact_and_comes_back() -> None:
    square = pictures(2, 1, (16, 16))
    turned = Rotation(strength=90).changed(square, [0, 1])
    assert turned.numpy() == pytest.approx(np.rot90(square.numpy(), axes=(2, 3)), abs=1e-5)
    assert Rotation(strength=90).restored(turned[:, 0]).numpy() == pytest.approx(square[:, 0].numpy(), abs=1e-5)
    assert Rotation(strength=90).visible((16, 16)).all()


def test_a_rotation_of_a_volume_turns_each_slice() -> None:
    volume = pictures(1, 1, (4, 15, 16))
    found = of(Rotation(strength=20), volume)
    for number in range(4):
        assert found[:, :, number] == pytest.approx(of(Rotation(strength=20), volume[:, :, number]), abs=1e-5)


def test_a_resampling_takes_each_pixel_from_further_away() -> None:
    image = pictures(1)[0, 0].double().numpy()
    found = of(Resampling(strength=0.4), pictures(1))[0, 0]
    middle = [(side - 1) / 2 for side in image.shape]
    for row in range(image.shape[0]):
        for column in range(image.shape[1]):
            y, x = (m + 1.4 * (one - m) for one, m in zip((row, column), middle, strict=True))
            assert found[row, column] == pytest.approx(bilinear(image, y, x), abs=1e-5)


@pytest.mark.parametrize("change", [Rotation(strength=12), Resampling(strength=0.3)], ids=lambda one: one.name)
def test_a_map_that_moves_with_its_image_comes_back(change: Change) -> None:
    image = torch.from_numpy(scipy.ndimage.gaussian_filter(np.random.default_rng(0).random((1, 60, 70)), (0, 4, 4)))
    image = (image - image.min()) / (image.max() - image.min())
    moved = change.changed(image[:, None], [0])[:, 0]
    seen = change.visible((60, 70))
    away, back = ((one - image)[0][seen].abs().mean() for one in (moved, change.restored(moved)))
    assert 10 * float(back) < float(away)


def test_what_leaves_the_image_is_not_visible() -> None:
    corner = torch.zeros(1, 1, 40, 40)
    corner[..., :3, :3] = 1
    change = Rotation(strength=20)
    assert not change.visible((40, 40))[:3, :3].any()
    assert change.changed(corner, [0])[..., 8:, 8:].max() == 0
    assert 0.8 < float(change.visible((40, 40)).double().mean()) < 0.97
    assert Resampling().visible((40, 40)).all()
    assert Blur().visible((4, 5, 6)).shape == (4, 5, 6)


@pytest.mark.parametrize("name", CHANGES.names())
def test_pixels_are_those_before_normalisation(name: str) -> None:
    own = pictures(2)
    for wrong in (own - 0.5, own * 2, own * 255, torch.where(own > 0.9, torch.nan, own), (own - 0.5) / 0.28):
        for strength in (0, CHANGES.find(name).levels[0]):
            with pytest.raises(ShapeError, match=rf"to change '{name}'; those in \[0, 1\] before normalis") as caught:
                CHANGES.build(name, {"strength": str(strength)}).changed(wrong, [0, 1])
            assert "\n" not in str(caught.value)
    rounded = own.mul(1.0005).clamp(min=-1e-4)  # as half precision reads normalised pixels back
    assert CHANGES.find(name)().changed(rounded, [0, 1]).max() <= 1
    whole = torch.stack([torch.zeros_like(own[0]), torch.ones_like(own[0])])
    assert CHANGES.find(name)().changed(whole, [0, 1]).shape == own.shape


@pytest.mark.parametrize("wrong", ["a", None, True])
@pytest.mark.parametrize("name", CHANGES.names())
def test_a_strength_is_a_number(name: str, wrong: object) -> None:
    with pytest.raises(OptionError, match=rf"^strength {wrong!r} of change '{name}' was asked for; .*give 0 or more"):
        CHANGES.find(name)(strength=wrong)


def test_bad_input_is_one_line() -> None:
    for seeds in ([1, -1, 2], [0, 1.5, 2], [0, "a", 2]):
        with pytest.raises(OptionError, match="each must be a whole number from 0"):
            Noise().changed(pictures(3), seeds)
    for wrong in (-0.1, math.nan, math.inf, 1.5):
        with pytest.raises(OptionError, match=r"strength .* of change 'noise' .* at most 1$"):
            Noise(strength=wrong)
    with pytest.raises(OptionError, match="give 0 or more and at most 99"):
        JPEG(strength=100)
    with pytest.raises(ShapeError, match="a seed for each image"):
        Noise().changed(pictures(3), [1, 2])
    with pytest.raises(ShapeError, match="were expected"):
        Noise().changed(torch.zeros(3, 4, 5), [1, 2, 3])
    with pytest.raises(OptionError, match="did you mean noise"):
        CHANGES.find("nosie")


def test_a_change_of_ones_own_is_one_class() -> None:
    @register_change("inverted")
    @dataclass(frozen=True)
    class Inverted(Change):
        unit: ClassVar[str] = "the share of the inverted image"
        levels: ClassVar[tuple[float, ...]] = (0.5, 1.0)
        strongest: ClassVar[float] = 1.0

        strength: float = 0.5

        def applied(self, pixels, generators):  # type: ignore[no-untyped-def]
            return (1 - self.strength) * pixels + self.strength * (1 - pixels)

    with CHANGES.forgetting(Inverted):
        assert pellucid.changes.Inverted is Inverted
        found = replace(CHANGES.find("inverted")(), strength=1.0)
        assert of(found, pictures()) == pytest.approx(1 - pictures().numpy(), abs=1e-6)
