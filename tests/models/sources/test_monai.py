"""Models of MONAI, in two and three dimensions."""

import pytest
import safetensors.torch
import torch

import pellucid
from pellucid.errors import MissingPackageError
from pellucid.models.checkpoints.reference import describe
from pellucid.models.sources import load_model, model_info
from pellucid.models.sources import monai as monai_source
from pellucid.models.sources.finding import find
from tests.models.sources.helpers import holds, noise, one_line

MONAI = {
    "densenet121": (1, 64, 64),
    "densenet121-3d": (1, 32, 32, 32),
    "resnet10": (1, 64, 64),
    "ResNet10-3D": (1, 32, 32, 32),
    "seresnet50": (1, 64, 64),
    "efficientnet-b0": (1, 64, 64),
    "efficientnet-b0-3d": (1, 32, 32, 32),
    "vit-2d": (1, 224, 224),
}


def needs_einops(name):
    if name.startswith("vit"):
        pytest.importorskip("einops")


@pytest.mark.parametrize("name", MONAI)
def test_monai_answers_logits(monai, name):
    """No activation comes after the head: what is added to its bias comes out."""
    needs_einops(name)
    model = load_model(f"monai:{name}", num_classes=3)
    head = model.get_submodule(describe("", model).heads[0])
    with torch.no_grad():
        answers = []
        for extra in (0.0, 100.0):
            head.bias.add_(extra)
            answer = model(noise(1, *MONAI[name]))
            answers.append(answer[0] if isinstance(answer, tuple) else answer)
    assert answers[0].shape == (1, 3)
    assert torch.allclose(answers[1], answers[0] + 100, atol=1e-3)
    info = model_info(model)
    assert (info.classes, info.head, info.preprocessing, info.weights) == (None, None, None, "random")


def test_monai_defaults(monai):
    model = load_model("monai:resnet10-3d")
    assert (model.conv1.in_channels, model.fc.out_features) == (1, 2)
    explanation = pellucid.explain(model, noise(1, 1, 32, 32, 32), targets=1)
    assert explanation.heatmaps.shape == (1, 1, 32, 32, 32)


@pytest.mark.parametrize("name", ["densenet121", "resnet10-3d", "seresnet50", "efficientnet-b0"])
def test_monai_checkpoint(monai, tmp_path, name):
    source, bare = find(f"monai:{name}")
    own = source.build(pellucid.models.sources.base.ModelRequest(bare, num_classes=5, in_channels=3))
    state = {key: value.contiguous() for key, value in own.state_dict().items()}
    safetensors.torch.save_file(state, tmp_path / "a.safetensors")
    assert holds(load_model(f"monai:{name}", tmp_path / "a.safetensors"), state)


def test_monai_every_name_is_there(monai):
    source, _ = find("monai:vit")
    for name in monai_source.CLASSES:
        assert hasattr(monai, monai_source.CLASSES[name]), name
    for name in ("senet154", "seresnext50-3d", "resnet200-3d", "densenet264-3d", "efficientnet-b8"):
        assert describe(name, source.outline(pellucid.models.sources.base.ModelRequest(name))).heads


def test_monai_vit_without_its_tanh(monai, tmp_path):
    pytest.importorskip("einops")
    own = monai.ViT(1, (224, 224), (16, 16), classification=True, num_classes=4, spatial_dims=2).eval()
    stale = {"blocks.0.cross_attn.to_q.weight": torch.zeros(2, 2)}  # of MONAI before 1.5.3
    torch.save(own.state_dict() | stale, tmp_path / "a.pt")
    model = load_model("monai:vit", tmp_path / "a.pt")
    with torch.no_grad():
        images = noise(1, 1, 224, 224)
        assert torch.allclose(model(images)[0].tanh(), own(images)[0], atol=1e-6)


def test_monai_vit_names_what_it_needs(monai, monkeypatch):
    def fail(**_):
        raise ImportError("from einops import Rearrange\nand much more")

    monkeypatch.setattr(monai, "ViT", fail)
    with pytest.raises(MissingPackageError, match=r"monai:vit needs einops.*pip install") as error:
        load_model("monai:vit")
    assert one_line(error)
