"""Making models from a specification or a weights file, and what is known of them then."""

import pytest
import timm
import torch
import torchvision
from torch import nn

from pellucid.errors import CheckpointError, OptionError, SourceError
from pellucid.models.sources import ModelInfo, load_model, model_info
from pellucid.models.sources import timm as timm_source
from pellucid.models.sources import torchvision as torchvision_source
from tests.models.sources.helpers import drawn, holds, saved

FILE = """
import helper
from torch import nn

def plain():
    return helper.make(3, 2)

def sized(num_classes=2, in_channels=3):
    return helper.make(in_channels, num_classes)

def described():
    model = helper.make(3, 2)
    model.classes, model.head = ["well", "ill"], "softmax"
    model.preprocessing = {"size": 32, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
    return model

def wrong():
    return 3

def broken():
    raise KeyError("no\\nsuch key")
"""
HELPER = """
from torch import nn

def make(channels, classes):
    return nn.Sequential(nn.Conv2d(channels, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4, classes))
"""


@pytest.fixture
def user_file(tmp_path, monkeypatch):
    (tmp_path / "helper.py").write_text(HELPER)
    file = tmp_path / "mine.py"
    file.write_text(FILE)
    yield file
    for name in ("helper", "pellucid_user_mine"):
        monkeypatch.delitem(__import__("sys").modules, name, raising=False)


def test_torchvision_by_name():
    model = load_model("torchvision:resnet18")
    assert not model.training
    info = model_info(model)
    assert info.spec == "torchvision:resnet18"
    assert len(info.classes) == 1000
    assert info.classes[0] == "tench"
    assert (info.weights, info.head, info.checkpoint_sha256) == ("random", None, None)
    assert (info.preprocessing.resize, info.preprocessing.crop) == (256, (224, 224))
    assert model_info(nn.DataParallel(model)) == info


def test_random_weights_are_the_same_every_time():
    before = torch.get_rng_state()
    first, second = (load_model("torchvision:squeezenet1_1", num_classes=3) for _ in range(2))
    assert holds(first, second.state_dict())
    assert torch.equal(torch.get_rng_state(), before)
    assert model_info(first).classes is None


def test_timm_by_name():
    info = model_info(load_model("timm:resnet18"))
    assert len(info.classes) == 1000
    assert "tench" in info.classes[0]
    assert info.preprocessing.channels == 3
    assert model_info(load_model("timm:resnet18", num_classes=2)).classes is None


def test_usage_errors(tmp_path):
    with pytest.raises(SourceError, match="no model was named"):
        load_model()
    with pytest.raises(OptionError, match="weights must be one of"):
        load_model("torchvision:resnet18", weights="all")
    with pytest.raises(OptionError, match="leave one of them out"):
        load_model("torchvision:resnet18", checkpoint=tmp_path, weights="default")
    with pytest.raises(OptionError, match="at least 1"):
        load_model("torchvision:resnet18", num_classes=0)


def test_user_file(user_file):
    model = load_model(f"{user_file}:plain")
    assert model(torch.ones(1, 3, 3, 3)).shape == (1, 2)
    assert model_info(model) == ModelInfo(spec=f"{user_file}:plain")
    assert load_model(f"{user_file}:sized", num_classes=7)[3].out_features == 7
    info = model_info(load_model(f"{user_file}:described"))
    assert (info.classes, info.head) == (("well", "ill"), "softmax")
    assert (info.preprocessing.resize, info.preprocessing.channels) == (32, 3)


@pytest.mark.parametrize(
    ("factory", "text"),
    [
        ("wrong", "an nn.Module was expected, got int"),
        ("broken", "KeyError: 'no.*such key'"),
        ("plane", "did you mean plain"),
    ],
)
def test_user_file_errors(user_file, factory, text):
    with pytest.raises(SourceError, match=text) as error:
        load_model(f"{user_file}:{factory}")
    assert "\n" not in str(error.value)


def test_user_file_that_does_not_compile(tmp_path):
    (tmp_path / "mine.py").write_text("def (")
    with pytest.raises(SourceError, match="SyntaxError"):
        load_model(f"{tmp_path}/mine.py:make")


def test_user_file_with_checkpoint(user_file, tmp_path):
    state = drawn(nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4, 9)))
    path = saved(tmp_path / "a.pt", {"state_dict": state})
    model = load_model(f"{user_file}:sized", path)
    assert holds(model, state)
    assert model_info(model).weights == "checkpoint"
    with pytest.raises(CheckpointError, match=r"(2|3) of another shape"):
        load_model(f"{user_file}:plain", path)


def test_default_weights_are_asked_for(monkeypatch):
    """The download itself is left out: what would be downloaded is drawn."""
    asked = []
    builder = torchvision.models.get_model

    def get_model(name, weights, **options):
        asked.append(weights)
        return builder(name, weights=None, **options)

    monkeypatch.setattr(torchvision.models, "get_model", get_model)
    model = load_model("torchvision:resnet18", weights="default", num_classes=3)
    assert asked == [torchvision.models.ResNet18_Weights.DEFAULT]
    assert model.fc.out_features == 3
    assert model_info(model).weights == "default"
    squeeze = load_model("torchvision:squeezenet1_1", weights="default", num_classes=3)
    assert squeeze(torch.ones(1, 3, 64, 64)).shape == (1, 3)


def test_downloads_that_fail(monkeypatch):
    def fail(*_, **__):
        raise OSError("no\nnetwork")

    monkeypatch.setattr(torchvision.models, "get_model", fail)
    monkeypatch.setattr(timm, "create_model", fail)
    for source in (torchvision_source, timm_source):
        spec = f"{source.SOURCE.prefix}:resnet18"
        with pytest.raises(SourceError, match=r"could not be loaded.*no network") as error:
            load_model(spec, weights="default")
        assert "\n" not in str(error.value)


def test_a_factory_may_state_its_preprocessing_as_an_object(tmp_path):
    (tmp_path / "stated.py").write_text(
        "from torch import nn\n"
        "from pellucid import Preprocessing\n\n"
        "def network():\n"
        "    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())\n"
        "    model.preprocessing = Preprocessing(resize=(20, 24), mean=(0.4,) * 3, std=(0.2,) * 3)\n"
        "    return model\n"
    )
    info = model_info(load_model(f"{tmp_path / 'stated.py'}:network"))
    assert (info.preprocessing.resize, info.preprocessing.mean, info.assumed) == ((20, 24), (0.4,) * 3, ())
