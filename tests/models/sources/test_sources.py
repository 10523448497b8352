"""Making models from a specification or a weights file, and what is known of them then."""

import gc
import hashlib

import pytest
import safetensors.torch
import timm
import torch
import torchvision
from torch import nn

from pellucid.errors import CheckpointError, OptionError, SourceError
from pellucid.models.checkpoints import recognise
from pellucid.models.checkpoints.reference import weightless
from pellucid.models.sources import ModelInfo, load_model, loading, model_info
from pellucid.models.sources import timm as timm_source
from pellucid.models.sources import torchvision as torchvision_source
from pellucid.models.sources.loading import find

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


def saved(path, content):
    torch.save(content, path)
    return path


def weights_of(model, seed=1):
    generator = torch.Generator().manual_seed(seed)
    state = model.state_dict()
    return {k: torch.rand(v.shape, generator=generator) if v.is_floating_point() else v for k, v in state.items()}


def holds(model, state):
    own = model.state_dict()
    return own.keys() == state.keys() and all(torch.equal(own[key], state[key]) for key in own)


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


def test_other_models():
    assert model_info(nn.Linear(1, 1)) == ModelInfo()
    info = model_info(timm.create_model("resnet18"))
    assert "timm" in info.preprocessing.source
    assert (info.spec, info.weights, info.classes) == (None, None, None)


def test_models_are_remembered_weakly():
    gc.collect()
    before = len(loading._KNOWN)
    model = load_model("torchvision:squeezenet1_1")
    assert len(loading._KNOWN) == before + 1
    del model
    gc.collect()
    assert len(loading._KNOWN) == before


def test_a_checkpoint_as_a_model_is_told_where_it_belongs(tmp_path):
    path = tmp_path / "best.pt"
    torch.save(torchvision.models.resnet18(num_classes=3).state_dict(), path)
    with pytest.raises(SourceError, match=r"give it as checkpoint='.*best\.pt'"):
        load_model(str(path))


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ("torchvision:resnet51", "did you mean resnet"),
        ("timm:vit_base_patch16_223", "did you mean .*vit_base_patch16_224"),
        ("timm:hf-hub:someone/something", "no timm model"),
        ("nothing:resnet50", "timm:…, torchvision:…"),
        ("resnet50", "names no model"),
        ("torchvision:", "names no model"),
        ("file:a", "names no function"),
        ("nowhere/mine.py:make", "no file nowhere/mine.py"),
        ("C:\\somewhere\\mine.py:make", "no file C:"),
    ],
)
def test_unknown_specifications(spec, text):
    with pytest.raises(SourceError, match=text) as error:
        load_model(spec)
    assert "\n" not in str(error.value)


def test_usage_errors(tmp_path):
    with pytest.raises(SourceError, match="no model was named"):
        load_model()
    with pytest.raises(OptionError, match="weights must be one of"):
        load_model("torchvision:resnet18", weights="all")
    with pytest.raises(OptionError, match="leave one of them out"):
        load_model("torchvision:resnet18", checkpoint=tmp_path, weights="default")
    with pytest.raises(OptionError, match="at least 1"):
        load_model("torchvision:resnet18", num_classes=0)


def test_windows_paths_are_files():
    source, name = find("C:\\models\\mine.py:make")
    assert (source.prefix, name) == ("file", "C:\\models\\mine.py:make")


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
    state = weights_of(nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4, 9)))
    path = saved(tmp_path / "a.pt", {"state_dict": state})
    model = load_model(f"{user_file}:sized", path)
    assert holds(model, state)
    assert model_info(model).weights == "checkpoint"
    with pytest.raises(CheckpointError, match=r"(2|3) of another shape"):
        load_model(f"{user_file}:plain", path)


@pytest.mark.parametrize("stated", [None, "resnet18", "torchvision:resnet18", "MyNet", "../evil.py:make"])
def test_checkpoint_alone(tmp_path, stated):
    with torch.random.fork_rng(devices=[]):
        own = torchvision.models.resnet18(num_classes=14)
    own.conv1 = nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False)
    state = weights_of(own)
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
    state = weights_of(own)
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
