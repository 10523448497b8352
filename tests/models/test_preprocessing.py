"""Preparing pictures: the same as torchvision and timm do, and traceable back to the original."""

import json
from dataclasses import replace

import numpy as np
import PIL.Image
import pytest
import timm
import torch
import torchvision
from timm.data import create_transform, resolve_model_data_config
from torch import nn
from torchvision.models import ResNet50_Weights, VisionTransformer, ViT_H_14_Weights

from pellucid.core.geometry import Geometry
from pellucid.core.image import Image
from pellucid.errors import ShapeError, SourceError
from pellucid.models.checkpoints.reference import weightless
from pellucid.models.preprocessing import Preprocessing, from_timm, from_torchvision
from pellucid.models.sources.file import from_mapping
from pellucid.models.sources.torchvision import _preprocessing

IMAGENET = Preprocessing(256, (224, 224), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def picture(*shape):
    pixels = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    return Image(pixels, pixels, Geometry.identity(shape[1:]), {"file": "a"})


@pytest.mark.parametrize("name", ["ResNet50", "Inception_V3", "Swin_T", "EfficientNet_B1"])
@pytest.mark.parametrize("size", [(300, 401), (401, 300), (256, 256), (97, 130), (1000, 517)])
def test_equal_to_torchvision(name, size):
    weights = torchvision.models.get_weight(f"{name}_Weights.DEFAULT")
    image, prepare = picture(3, *size), from_torchvision(weights)
    ours, theirs = prepare(image), weights.transforms()(image.pixels)
    mean, std = (torch.tensor(values)[:, None, None] for values in (prepare.mean, prepare.std))
    theirs = ((theirs * std + mean).clamp(0, 1) - mean) / std  # a bicubic overshoot is no pixel value
    assert torch.allclose(ours.values, theirs, atol=1e-5)


@pytest.mark.parametrize("size", [(221, 400), (219, 300), (100, 101), (7, 500)])
def test_padding_crop_is_torchvisions(size):
    image = picture(3, *size)
    ours = Preprocessing(None, (224, 224))(image)
    assert torch.equal(ours.values, torchvision.transforms.functional.center_crop(image.pixels, [224, 224]))


@pytest.mark.parametrize("size", [(300, 401), (221, 119)])
def test_geometry_follows_the_pixels(size):
    """A smooth ramp of positions comes out where the geometry says."""
    rows, columns = torch.meshgrid(*(torch.arange(n) + 0.5 for n in size), indexing="ij")
    ramp = torch.stack([rows / size[0], columns / size[1], rows * 0])
    image = Image(ramp, ramp, Geometry.identity(size))
    ours = Preprocessing(180, (150, 160))(image)
    for place in [(20, 30), (75, 80), (130, 120)]:
        row, column = ours.geometry.source_point([p + 0.5 for p in place])
        seen = ours.pixels[:2, place[0], place[1]]
        assert seen.tolist() == pytest.approx([row / size[0], column / size[1]], abs=2e-3)


def data_config(name):
    with weightless():
        return timm.create_model(name)


@pytest.mark.parametrize(
    "name", ["resnet50", "vit_tiny_patch16_224", "mixer_s16_224", "inception_v3", "beit_base_patch16_384"]
)
def test_close_to_timm(name):
    model = data_config(name)
    levels = (picture(3, 20, 27).pixels * 255).byte().permute(1, 2, 0).numpy()
    pil = PIL.Image.fromarray(levels).resize((431, 350), PIL.Image.Resampling.BICUBIC)
    theirs = create_transform(**resolve_model_data_config(model), is_training=False)(pil)
    pixels = torch.from_numpy(np.array(pil)).permute(2, 0, 1) / 255
    ours = from_timm(model)(Image(pixels, pixels, Geometry.identity((350, 431))))
    assert ours.values.shape == theirs.shape
    assert (ours.values - theirs).abs().max() < 0.05


@pytest.mark.parametrize(("mode", "resize"), [("squash", (266, 266)), ("border", (240, 240)), ("center", 266)])
def test_timm_crop_modes(mode, resize):
    model = torch.nn.Identity()
    model.pretrained_cfg = {
        "input_size": (3, 240, 240),
        "crop_pct": 0.9,
        "crop_mode": mode,
        "interpolation": "lanczos",
    }
    made = from_timm(model)
    assert (made.resize, made.crop, made.interpolation) == (resize, (240, 240), "bicubic")
    assert mode in made.source


def test_timm_one_channel_averages():
    made = from_timm(timm.create_model("resnet18", in_chans=1))
    assert made.channels == 1
    assert made.mean == pytest.approx(((0.485 + 0.456 + 0.406) / 3,))


def test_torchvision_one_channel_averages():
    made = from_torchvision(torchvision.models.ResNet18_Weights.DEFAULT, 1)
    assert made.mean == pytest.approx([0.449])
    assert made.std == pytest.approx([0.226])


def test_result_says_what_was_done():
    image = picture(1, 300, 400)
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
    image = picture(3, 4, 5)
    grey = Preprocessing(channels=1)(image)
    expected = 0.299 * image.pixels[0] + 0.587 * image.pixels[1] + 0.114 * image.pixels[2]
    assert torch.allclose(grey.pixels[0], expected)
    assert grey.provenance["preprocessing"]["colour"] == "luminance"
    assert Preprocessing()(image).provenance["preprocessing"]["colour"] == "as it is"


def test_nearest_and_exact_size():
    ours = Preprocessing((6, 9), interpolation="nearest")(picture(1, 3, 3))
    assert torch.equal(ours.pixels[0, ::2, ::3], picture(1, 3, 3).pixels[0])


def test_wrong_pictures():
    with pytest.raises(ShapeError, match="a volume"):
        Preprocessing(resize=(3, 3, 3))(picture(1, 3, 3))
    with pytest.raises(ShapeError, match="3 channels were expected, got 2"):
        Preprocessing()(picture(2, 3, 3))


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


def test_a_vit_of_another_size_than_its_default_weights_is_given_its_own():
    """torchvision's ViT-H is made for 224 pixels a side, its default weights for 518."""
    model = VisionTransformer(224, 32, 1, 2, 16, 32, num_classes=1000)
    made = _preprocessing(ViT_H_14_Weights.DEFAULT, 3, model)
    assert (made.crop, made.resize) == ((224, 224), 224)
    resnet = _preprocessing(ResNet50_Weights.DEFAULT, 3, nn.Identity())
    assert resnet == from_torchvision(ResNet50_Weights.DEFAULT)
    assert resnet.for_side(112) == replace(resnet, resize=116, crop=(112, 112))
    assert replace(resnet, resize=(232, 464)).for_side(112).resize == (116, 232)


def test_timms_channels_are_those_that_the_model_was_made_with():
    """Also of networks whose first convolution sees other things than the picture (csatv2: its cosine transform)."""
    assert from_timm(timm.create_model("csatv2")).channels == 3
    assert from_timm(timm.create_model("test_convnext", in_chans=1)).channels == 1


def test_normalised_input_that_lies_in_the_unit_interval_is_not_warned_of():
    assert (
        Preprocessing(mean=(0.0,) * 3, std=(1.0,) * 3).range_warning(torch.linspace(0, 1, 12).view(1, 3, 2, 2)) is None
    )


def test_a_range_is_what_black_and_white_become():
    image = picture(1, 4, 5)
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
        Preprocessing(channels=channels)(picture(1, 4, 5))
    several = picture(channels, 4, 5)
    assert torch.equal(Preprocessing(channels=channels)(several).values, several.pixels)


@pytest.mark.parametrize("limits", [(1, 0), (0, 1, 2), (0,), (0, float("inf")), (float("nan"), 1), "ab", 3, None])
def test_a_range_that_is_none(limits):
    with pytest.raises(SourceError, match="numbers"):
        from_mapping({"range": limits}, "a")
