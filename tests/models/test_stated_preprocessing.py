"""What torchvision and timm state of preprocessing: prepared images are the same as theirs."""

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
from pellucid.models.checkpoints.reference import weightless
from pellucid.models.sources.torchvision import _preprocessing
from pellucid.models.stated_preprocessing import from_timm, from_torchvision
from tests.models.random_image import random_image


@pytest.mark.parametrize("name", ["ResNet50", "Inception_V3", "Swin_T", "EfficientNet_B1"])
@pytest.mark.parametrize("size", [(300, 401), (401, 300), (256, 256), (97, 130), (1000, 517)])
def test_equal_to_torchvision(name, size):
    weights = torchvision.models.get_weight(f"{name}_Weights.DEFAULT")
    image, prepare = random_image(3, *size), from_torchvision(weights)
    ours, theirs = prepare(image), weights.transforms()(image.pixels)
    mean, std = (torch.tensor(values)[:, None, None] for values in (prepare.mean, prepare.std))
    theirs = ((theirs * std + mean).clamp(0, 1) - mean) / std  # a bicubic overshoot is no pixel value
    assert torch.allclose(ours.values, theirs, atol=1e-5)


def data_config(name):
    with weightless():
        return timm.create_model(name)


@pytest.mark.parametrize(
    "name", ["resnet50", "vit_tiny_patch16_224", "mixer_s16_224", "inception_v3", "beit_base_patch16_384"]
)
def test_close_to_timm(name):
    model = data_config(name)
    levels = (random_image(3, 20, 27).pixels * 255).byte().permute(1, 2, 0).numpy()
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
