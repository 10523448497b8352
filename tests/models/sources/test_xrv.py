"""Models of torchxrayvision. Nothing is downloaded."""

import pickle
import sys
import warnings

import pytest
import safetensors.torch
import torch
from torch import nn

import pellucid
from pellucid.core.geometry import Geometry
from pellucid.core.image import Image
from pellucid.errors import CheckpointError, SourceError
from pellucid.models.sources import load_model, model_info
from pellucid.models.sources import xrv as xrv_source
from tests.models.sources.helpers import holds, noise, one_line
from tests.networks import trained


def saved_module(path, name, legacy=False):
    """Weights as torchxrayvision publishes them: the whole DenseNet pickled, the ResNet's state."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = xrv_source._bare(name, 18, 1).eval()
    first = model.get_parameter("features.conv0.weight" if name == "densenet121" else "conv1.weight")
    with torch.no_grad():
        first.mul_(1e-3)  # so that pixels of 1024 bring logits of about 1
    content = model if name == "densenet121" else model.state_dict()
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    return model


@pytest.fixture
def published(xrv, tmp_path, monkeypatch):
    """The downloads are left out: the files are there."""

    def make(name="densenet121", **options):
        path = tmp_path / f"{name}.pt"
        model = saved_module(path, name, **options)
        monkeypatch.setattr(xrv.models, "get_weights", lambda *_, **__: str(path))
        return model

    return make


@pytest.mark.parametrize("legacy", [True, False])
def test_xrv_densenet_answers_logits(xrv, published, legacy):
    published(legacy=legacy)
    model = load_model("xrv:densenet121-res224-all", weights="default")
    original = xrv.models.DenseNet(weights="densenet121-res224-all").eval()
    images = (noise(2, 1, 224, 224) * 400).clamp(-1024, 1024)
    with torch.no_grad():
        logits, calibrated = model(images), original(images)
        normed = xrv.models.op_norm(logits.sigmoid(), original.op_threshs)
        original.op_threshs, original.apply_sigmoid = None, True
        probabilities = original(images)
    assert torch.allclose(normed, calibrated, atol=1e-6)
    assert torch.allclose(logits.sigmoid(), probabilities, atol=1e-6)
    assert torch.allclose(logits, probabilities.logit(), atol=1e-4)
    assert logits.std() > 0.01


def test_xrv_resnet_answers_logits(xrv, published):
    published("resnet50")
    model = load_model("xrv:resnet50-res512-all", weights="default")
    original = xrv.models.ResNet(weights="resnet50-res512-all").eval()
    images = (noise(1, 1, 512, 512) * 400).clamp(-1024, 1024)
    with torch.no_grad():
        logits, calibrated = model(images), original(images)
    assert torch.allclose(xrv.models.op_norm(logits.sigmoid(), original.op_threshs), calibrated, atol=1e-6)
    assert logits.std() > 0.01
    assert logits.isfinite().all()
    assert calibrated.std() > 0.1
    assert model_info(model).preprocessing.crop == (512, 512)


def test_xrv_info(xrv):
    model = load_model("xrv:densenet121-res224-rsna")
    info = model_info(model)
    assert (len(info.classes), len(set(info.classes)), info.head) == (18, 18, "sigmoid")
    assert (info.classes[0], info.classes[8], info.classes[16]) == ("class 0", "Pneumonia", "Lung Opacity")
    assert model_info(load_model("xrv:densenet121-res224-rsna", num_classes=3)).classes is None
    bare = model_info(load_model("xrv:densenet121"))
    assert (bare.classes, bare.head, bare.weights) == (None, "sigmoid", "random")


def test_xrv_preprocessing(xrv):
    model = load_model("xrv:densenet121-res224-all")
    pixels = torch.linspace(0, 1, 300).expand(1, 224, 300).contiguous()
    prepared = pellucid.prepare(model, Image(pixels, pixels, Geometry.identity((224, 300))))
    assert prepared.values.shape == (1, 224, 224)
    assert torch.allclose(prepared.values, (2 * pixels[:, :, 38:262] - 1) * 1024, atol=1e-3)
    expected = model_info(model).preprocessing
    assert expected.range_warning(torch.linspace(-1024, 1024, 100).reshape(1, 1, 10, 10)) is None
    assert "unnormalised" in expected.range_warning(torch.linspace(0, 1, 100).reshape(1, 1, 10, 10))
    assert "Hounsfield" in expected.range_warning(torch.linspace(0, 65535, 100).reshape(1, 1, 10, 10))


def test_xrv_another_number_of_classes(published):
    own = published()
    model = load_model("xrv:densenet121-res224-all", weights="default", num_classes=3)
    assert model.classifier.out_features == 3
    assert torch.equal(model.features.conv0.weight, own.features.conv0.weight)


@pytest.mark.parametrize("name", ["densenet121", "resnet50"])
def test_xrv_checkpoint(xrv, published, tmp_path, name):
    """As torchxrayvision's own models give their state: with operating points, the ResNet's within a wrapper."""
    published(name)
    weights = {"densenet121": "densenet121-res224-all", "resnet50": "resnet50-res512-all"}[name]
    original = trained(xrv.models.get_model(weights))
    file = tmp_path / "state.safetensors"
    safetensors.torch.save_file({key: value.contiguous() for key, value in original.state_dict().items()}, file)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = load_model(f"xrv:{weights}", file)
    assert model_info(model).classes[0] == "Atelectasis"
    inner = original if name == "densenet121" else original.model
    own = dict(inner.named_parameters())
    assert all(torch.equal(value, own[key]) for key, value in model.named_parameters())


def test_xrv_checkpoint_of_other_sizes(xrv, tmp_path):
    own = xrv_source._bare("densenet121", 4, 3)
    file = tmp_path / "a.pt"
    torch.save(own.state_dict(), file)
    model = load_model("xrv:densenet121", file)
    assert holds(model, own.state_dict())
    assert model_info(model).preprocessing.channels == 3


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.mark.parametrize("legacy", [True, False])
def test_xrv_runs_nothing_from_a_file(xrv, tmp_path, monkeypatch, legacy):
    model = nn.Linear(1, 1)
    model.evil = Evil(str(tmp_path / "ran"))
    path = tmp_path / "evil.pt"
    torch.save(model, path, _use_new_zipfile_serialization=not legacy)
    monkeypatch.setattr(xrv.models, "get_weights", lambda *_, **__: str(path))
    with pytest.raises(SourceError, match=r"could not be loaded.*do not fit") as error:
        load_model("xrv:densenet121-res224-all", weights="default")
    assert one_line(error)
    assert not (tmp_path / "ran").exists()
    path.write_bytes(pickle.dumps(Evil(str(tmp_path / "ran"))))
    with pytest.raises(SourceError, match="could not be loaded"):
        load_model("xrv:densenet121-res224-all", weights="default")
    assert not (tmp_path / "ran").exists()


def test_xrv_weights_that_hold_themselves(tmp_path):
    """A module within itself, as no honest file has it, is refused."""
    model = nn.Sequential(nn.Linear(2, 2))
    model._modules["again"] = model
    torch.save(model, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="in one another"):
        xrv_source._read(tmp_path / "a.pt")


def test_xrv_downloads_that_fail(xrv, monkeypatch):
    def fail(*_, **__):
        sys.stdout.write("Downloading…")
        raise OSError("no\nnetwork")

    monkeypatch.setattr(xrv.models, "get_weights", fail)
    with pytest.raises(SourceError, match=r"could not be loaded.*no network") as error:
        load_model("xrv:densenet121-res224-all", weights="default")
    assert one_line(error)


def test_xrv_download_says_nothing_in_the_answer(xrv, published, monkeypatch, capsys):
    published()
    path = xrv.models.get_weights("")

    def loud(*_, **__):
        sys.stdout.write("Downloading…")
        return path

    monkeypatch.setattr(xrv.models, "get_weights", loud)
    load_model("xrv:densenet121-res224-all", weights="default")
    assert capsys.readouterr().out == ""
