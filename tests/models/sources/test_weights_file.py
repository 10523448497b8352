"""The model of a weights file alone, whatever its layout."""

import hashlib

import pytest
import safetensors.torch
import timm
import torch
import torchvision
from torch import nn

from pellucid.errors import CheckpointError, OptionError
from pellucid.models.checkpoints import recognise
from pellucid.models.checkpoints.reference import weightless
from pellucid.models.sources import load_model, model_info
from tests.models.sources.helpers import drawn, holds, saved


@pytest.mark.parametrize("stated", [None, "resnet18", "torchvision:resnet18", "MyNet", "../evil.py:make"])
def test_checkpoint_alone(tmp_path, stated):
    with torch.random.fork_rng(devices=[]):
        own = torchvision.models.resnet18(num_classes=14)
    own.conv1 = nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False)
    state = drawn(own)
    path = saved(tmp_path / "a.pt", {"model_state_dict": state, "architecture": stated})
    model = load_model(checkpoint=path)
    assert holds(model, state)
    assert model(torch.ones(1, 1, 64, 64)).shape == (1, 14)
    info = model_info(model)
    assert info.spec == "torchvision:resnet18"
    assert info.preprocessing.channels == 1
    assert info.checkpoint_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(OptionError, match="has 14"):
        load_model(checkpoint=path, num_classes=3)


def test_stated_timm_architecture(tmp_path):
    own = timm.create_model("efficientnet_b0", num_classes=3, in_chans=1)
    state = drawn(own)
    safetensors.torch.save_file(state, tmp_path / "a.safetensors")
    assert holds(load_model("timm:efficientnet_b0", tmp_path / "a.safetensors"), state)
    model = load_model(checkpoint=saved(tmp_path / "a.pt", {"model": state, "arch": "efficientnet_b0"}))
    assert holds(model, state)
    assert model_info(model).spec == "timm:efficientnet_b0"
    assert model_info(model).preprocessing.channels == 1


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
@pytest.mark.parametrize("auxiliary", [True, False])
def test_auxiliary_heads(tmp_path, name, auxiliary):
    own = torchvision.models.get_model(name, num_classes=4, init_weights=False, aux_logits=auxiliary)
    path = saved(tmp_path / "a.pt", own.state_dict())
    assert holds(load_model(checkpoint=path), own.state_dict())


class Wrapped(nn.Module):
    def __init__(self, name, head, layers):
        super().__init__()
        self.backbone = torchvision.models.get_model(name)
        setattr(self.backbone, head, nn.Identity())
        self.fc = layers

    def forward(self, images):
        return self.fc(self.backbone(images))


class Sequence(nn.Module):
    def __init__(self):
        super().__init__()
        own = torchvision.models.resnet18()
        self.backbone = nn.Sequential(*list(own.children())[:-2])
        self.layer4 = own.layer4
        self.classifier = nn.Linear(512, 5)

    def forward(self, images):
        return self.classifier(self.backbone(images).mean((2, 3)))


WRAPPERS = {
    "resnet18": lambda: Wrapped("resnet18", "fc", nn.Linear(512, 5)),
    "efficientnet_b0": lambda: Wrapped(
        "efficientnet_b0", "classifier", nn.Sequential(nn.Dropout(), nn.Linear(1280, 5))
    ),
    "sequential": Sequence,
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_wrapped_layouts(tmp_path, wrapper):
    own = WRAPPERS[wrapper]().eval()
    model = load_model(checkpoint=saved(tmp_path / "a.pt", {"model_state_dict": own.state_dict()}))
    assert model_info(model).spec == "torchvision:" + wrapper.replace("sequential", "resnet18")
    with torch.no_grad():
        images = torch.ones(1, 3, 64, 64)
        assert torch.allclose(model(images), own(images), atol=1e-5)


def test_wrapped_vision_transformer():
    with weightless():
        state = Wrapped("vit_b_32", "heads", nn.Linear(768, 5)).state_dict()
    found = recognise(state)
    assert (found.spec, found.num_classes, found.in_channels) == ("torchvision:vit_b_32", 5, 3)


def test_a_checkpoint_that_does_not_fit(tmp_path):
    path = saved(tmp_path / "a.pt", torchvision.models.squeezenet1_0().state_dict())
    with pytest.raises(CheckpointError, match=r"missing.*unexpected") as error:
        load_model("torchvision:resnet18", path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
