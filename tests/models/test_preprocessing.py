"""Preparing images: colour, normalisation, and what is said of both."""

import json

import pytest
import torch

from pellucid.errors import ShapeError, SourceError
from pellucid.models.preprocessing import Preprocessing
from pellucid.models.sources.file import from_mapping
from tests.models.random_image import random_image

IMAGENET = Preprocessing(256, (224, 224), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def test_result_says_what_was_done():
    image = random_image(1, 300, 400)
    ours = IMAGENET(image)
    assert ours.source is image
    assert ours.provenance["file"] == "a"
    done = json.loads(json.dumps(ours.provenance))["preprocessing"]
    assert done == {
        "resize": 256,
        "crop": [224, 224],
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
        "interpolation": "bilinear",
        "channels": 3,
        "source": "given",
        "range": [0.0, 1.0],
        "orientation": None,
        "spacing": None,
        "colour": "grey repeated",
    }
    assert ours.pixels.shape == ours.values.shape == (3, 224, 224)
    assert ours.values.dtype == torch.float32
    assert ours.pixels.min() >= 0
    assert ours.pixels.max() <= 1
    assert torch.allclose(ours.values, IMAGENET.normalise(ours.pixels))


def test_colour():
    image = random_image(3, 4, 5)
    grey = Preprocessing(channels=1)(image)
    expected = 0.299 * image.pixels[0] + 0.587 * image.pixels[1] + 0.114 * image.pixels[2]
    assert torch.allclose(grey.pixels[0], expected)
    assert grey.provenance["preprocessing"]["colour"] == "luminance"
    assert Preprocessing()(image).provenance["preprocessing"]["colour"] == "as it is"


def test_wrong_pictures():
    with pytest.raises(ShapeError, match="a volume"):
        Preprocessing(resize=(3, 3, 3))(random_image(1, 3, 3))
    with pytest.raises(ShapeError, match="3 channels were expected, got 2"):
        Preprocessing()(random_image(2, 3, 3))


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (torch.linspace(0, 1, 12), "unnormalised"),
        (torch.linspace(0, 255, 12), "Hounsfield"),
        (torch.linspace(-1000, 2, 12), "Hounsfield"),
        (torch.linspace(-2.1, 2.6, 12), None),
        (torch.linspace(0.1, 0.3, 12), None),
        (torch.full((12,), torch.nan), None),
    ],
)
def test_range_of_normalised_input(values, says):
    text = IMAGENET.range_warning(values.view(1, 3, 2, 2))
    assert (text is None) if says is None else (says in text and "\n" not in text)


def test_range_of_plain_input():
    assert Preprocessing().range_warning(torch.rand(1, 3, 2, 2)) is None
    assert "[0, 1]" in Preprocessing().range_warning(torch.rand(1, 3, 2, 2) * 3 - 1.5)


def test_given_by_a_mapping():
    assert from_mapping({"size": 64, "crop": 60, "mean": 0.5, "std": [0.2]}, "a") == Preprocessing(
        64, (60, 60), (0.5,), (0.2,), "bilinear", 1, "a"
    )
    assert from_mapping({"size": [64, 32], "mean": [0.1, 0.2, 0.3]}, "a").resize == (64, 32)
    assert from_mapping({"size": [8, 64, 32]}, "a").resize == (8, 64, 32)
    assert from_mapping({}, "a").channels == 3
    with pytest.raises(SourceError, match="scale"):
        from_mapping({"scale": 3}, "a")
    with pytest.raises(SourceError, match="numbers"):
        from_mapping({"size": [1, 2, 3, 4]}, "a")


def test_normalised_input_that_lies_in_the_unit_interval_is_not_warned_of():
    assert (
        Preprocessing(mean=(0.0,) * 3, std=(1.0,) * 3).range_warning(torch.linspace(0, 1, 12).view(1, 3, 2, 2)) is None
    )


def test_a_range_is_what_black_and_white_become():
    image = random_image(1, 4, 5)
    assert torch.allclose(Preprocessing(channels=1, range=(-1024, 1024))(image).values, 2048 * image.pixels - 1024)
    caffe = Preprocessing(mean=(104.0, 117.0, 123.0), std=(2.0,) * 3, range=(0, 255))(image).values
    assert torch.allclose(caffe[1], (255 * image.pixels[0] - 117) / 2, atol=1e-4)
    assert Preprocessing(range=(-1024, 1024)).range_warning(torch.linspace(-1000, 900, 12).view(1, 3, 2, 2)) is None
    for low, high in ((0, 1), (-3000, 0), (0, 2000)):
        text = Preprocessing(range=(-1024, 1024)).range_warning(torch.linspace(low, high, 12).view(1, 3, 2, 2))
        assert text.startswith("pixels in [-1024, 1024] were expected, got values from")


@pytest.mark.parametrize("channels", [2, 4, 5])
def test_a_grey_image_is_not_repeated_for_networks_of_other_channels_than_three(channels):
    with pytest.raises(ShapeError, match=rf"{channels} channels were expected, got 1; give an image of that many"):
        Preprocessing(channels=channels)(random_image(1, 4, 5))
    several = random_image(channels, 4, 5)
    assert torch.equal(Preprocessing(channels=channels)(several).values, several.pixels)


@pytest.mark.parametrize("limits", [(1, 0), (0, 1, 2), (0,), (0, float("inf")), (float("nan"), 1), "ab", 3, None])
def test_a_range_that_is_none(limits):
    with pytest.raises(SourceError, match="numbers"):
        from_mapping({"range": limits}, "a")
