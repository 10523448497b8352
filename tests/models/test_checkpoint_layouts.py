"""Every layout of weights files that the published API loads, from the file to the logits of the loaded model."""

from __future__ import annotations

import dataclasses
import json
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
import torchvision
from torch import Tensor, nn

from pellucid import load_model
from pellucid.errors import CheckpointError, PellucidWarning
from pellucid.models.checkpoints.reference import weightless
from pellucid.models.sources import model_info

CLASSES = 5
NAME = "shufflenet_v2_x0_5"
PICTURES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(3))


@dataclasses.dataclass
class Config:
    """A training configuration of the user's own; its class is not there when the file is read."""

    lr: float = 0.1
    milestones: tuple[int, ...] = (1, 2)


class AttributeDict(dict):
    """What Lightning keeps hyper-parameters in."""


def varied(model: nn.Module, seed: int = 1) -> nn.Module:
    """A model whose every weight and statistic is unlike a fresh one's, in eval mode."""
    generator = torch.Generator().manual_seed(seed)
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor.mul_(1 + 0.2 * torch.rand(tensor.shape, generator=generator)).add_(0.01)
    return model.eval()


@pytest.fixture(autouse=True)
def _random_state() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


@pytest.fixture(scope="module")
def trained() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return varied(torchvision.models.get_model(NAME, num_classes=CLASSES))


def prefixed(state: dict[str, Tensor], prefix: str) -> OrderedDict[str, Tensor]:
    return OrderedDict((prefix + key, value) for key, value in state.items())


def optimised() -> dict[str, object]:
    """The state of an optimiser that made a step."""
    model = nn.Linear(3, 2)
    optimiser = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimiser.step()
    return optimiser.state_dict()


def logits(model: nn.Module, pictures: Tensor = PICTURES) -> Tensor:
    with torch.no_grad():
        return model(pictures)


def assert_loads(path: Path, expected: nn.Module, spec: str | None = f"torchvision:{NAME}", **more: object) -> None:
    """The file alone gives a model that answers as the one that was saved, and knows what it is."""
    found = load_model(checkpoint=path, **more)
    assert not found.training
    assert model_info(found).spec == spec
    assert model_info(found).weights == "checkpoint"
    assert torch.equal(logits(found), logits(expected))


def saved(path: Path, content: object) -> Path:
    torch.save(content, path)
    return path


FACTORY = """
from torch import nn

def make(num_classes=2, in_channels=3):
    return nn.Sequential(
        nn.Conv2d(in_channels, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4, num_classes)
    )
"""


def tiny(channels: int = 1) -> nn.Module:
    """What the user's own file makes."""
    layers = nn.Conv2d(channels, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4, CLASSES)
    return varied(nn.Sequential(*layers))


def assert_loads_into_own(path: Path, expected: nn.Module) -> None:
    """The file gives a model of the user's own code the weights that were saved."""
    factory = path.with_name("mine.py")
    factory.write_text(FACTORY)
    found = load_model(f"{factory}:make", path)
    channels = expected.get_parameter("0.weight").shape[1]
    pictures = torch.randn(2, channels, 3, 3, generator=torch.Generator().manual_seed(3))
    assert torch.equal(logits(found, pictures), logits(expected, pictures))


# Where the weights are.


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".ckpt"])
@pytest.mark.parametrize("place", ["model_state_dict", "model_state", "state_dict", "model", None])
def test_every_place(tmp_path: Path, place: str | None, suffix: str) -> None:
    own = tiny()
    state = own.state_dict()
    content = {place: state, "epoch": 3, "config": Config()} if place else state
    assert_loads_into_own(saved(tmp_path / f"best{suffix}", content), own)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "backbone.", "model.", "net.", "module._orig_mod.model."])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_every_prefix(tmp_path: Path, prefix: str, channels: int) -> None:
    own = tiny(channels)
    assert_loads_into_own(saved(tmp_path / "best.pt", {"state_dict": prefixed(own.state_dict(), prefix)}), own)


def test_wrappers_of_torch(tmp_path: Path) -> None:
    own = tiny()
    for wrapper in (nn.DataParallel(own), torch.compile(own, backend="eager")):
        assert_loads_into_own(saved(tmp_path / "best.pt", {"model_state_dict": wrapper.state_dict()}), own)


def test_parameters_in_the_weights_place(tmp_path: Path) -> None:
    own = tiny()
    state = {**dict(own.named_parameters()), **dict(own.named_buffers())}
    assert_loads_into_own(saved(tmp_path / "best.pt", state), own)


def test_half_precision_weights_are_read_as_float32(tmp_path: Path) -> None:
    own = tiny()
    halved = {key: v.half() if v.is_floating_point() else v for key, v in own.state_dict().items()}
    own.load_state_dict(halved)
    assert_loads_into_own(saved(tmp_path / "best.pt", halved), own)


@pytest.mark.parametrize("prefix", ["", "module.", "model."])
def test_safetensors(tmp_path: Path, prefix: str) -> None:
    own = tiny()
    path = tmp_path / "best.safetensors"
    safetensors.torch.save_file(prefixed(own.state_dict(), prefix), path, metadata={"format": "pt"})
    assert_loads_into_own(path, own)


def test_safetensors_alone(trained: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "best.safetensors"
    safetensors.torch.save_file({key: value.contiguous() for key, value in trained.state_dict().items()}, path)
    assert_loads(path, trained)


# The layouts of the published table.


def trainer(state: dict[str, Tensor]) -> dict[str, object]:
    return {
        "epoch": 12,
        "global_step": 4800,
        "model_state_dict": state,
        "optimizer_state_dict": optimised(),
        "best_metric": 0.91,
        "best_epoch": 10,
        "config": Config(),
    }


def registered(state: dict[str, Tensor], architecture: str = NAME, version: int | str = "v2") -> dict[str, object]:
    return {
        "model_state": state,
        "optimizer_state": optimised(),
        "scheduler_state": {"last_epoch": 3, "_last_lr": [0.1]},
        "model_key": "chest",
        "version": version,
        "architecture": architecture,
        "metrics": {"auroc": np.float64(0.9)},
        "config": {"model": {"pretrained": True}, "seed": 3},
        "epoch": 3,
        "step": 100,
    }


def compiled(state: dict[str, Tensor]) -> dict[str, object]:
    return {
        "model_state_dict": prefixed(state, "_orig_mod."),
        "val_auroc": np.float32(0.875),
        "config": {"optimizer": "adamw", "dataset": "chest"},
    }


def lightning(state: dict[str, Tensor]) -> dict[str, object]:
    return {
        "epoch": 3,
        "global_step": 400,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": prefixed(state, "model."),
        "loops": {"fit_loop": {"state_dict": {}}},
        "callbacks": {"ModelCheckpoint{'monitor': None}": {"best_model_score": torch.tensor(0.9)}},
        "optimizer_states": [optimised()],
        "lr_schedulers": [],
        "hparams_name": "kwargs",
        "hyper_parameters": AttributeDict(arch="own", loss=nn.CrossEntropyLoss()),
        "datamodule_hyper_parameters": Config(),
    }


LAYOUTS: dict[str, tuple[str, Callable[[dict[str, Tensor]], dict[str, object]]]] = {
    "trainer": ("best.pt", trainer),
    "registry": ("chest-v2.pt", registered),
    "compiled": ("best.pt", compiled),
    "lightning": ("epoch=3-step=400.ckpt", lightning),
}
"""The name of a file of each layout, and its content."""


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layout(trained: nn.Module, tmp_path: Path, layout: str) -> None:
    name, content = LAYOUTS[layout]
    assert_loads(saved(tmp_path / name, content(trained.state_dict())), trained)


def test_a_registry_s_own_name_of_an_architecture(trained: nn.Module, tmp_path: Path) -> None:
    architecture = "the registry's own name"
    record = {"version": "v2", "path": "chest-v2.pt", "architecture": architecture}
    (tmp_path / "index.json").write_text(json.dumps({"schema_version": 1, "models": {"chest": [record]}}))
    assert_loads(saved(tmp_path / "chest-v2.pt", registered(trained.state_dict(), architecture)), trained)


@pytest.mark.parametrize("prefix", ["model.", "net."])
def test_lightning_with_a_weighted_loss(trained: nn.Module, tmp_path: Path, prefix: str) -> None:
    state = prefixed(trained.state_dict(), prefix) | {"criterion.weight": torch.ones(CLASSES)}
    path = saved(tmp_path / "last.ckpt", {"state_dict": state, "hyper_parameters": {"lr": 0.1}})
    with pytest.warns(PellucidWarning, match=r"criterion\.weight"):
        assert_loads(path, trained)


def headless(name: str, head: str) -> nn.Module:
    body = torchvision.models.get_model(name)
    setattr(body, head, nn.Identity())
    return body


class Headed(nn.Module):
    """A backbone without its head, and a head of the trainer's own."""

    def __init__(self, backbone: nn.Module, fc: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.fc = fc

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.backbone(x))


class Sequential(nn.Module):
    """A ResNet's children in a row, one of them known by its own name too."""

    def __init__(self) -> None:
        super().__init__()
        own = torchvision.models.resnet18()
        self.backbone = nn.Sequential(*list(own.children())[:-2])
        self.layer4 = own.layer4
        self.classifier = nn.Linear(512, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.backbone(x).mean((2, 3)))


def dropped(width: int) -> nn.Module:
    return nn.Sequential(nn.Dropout(), nn.Linear(width, CLASSES))


WRAPPED: dict[str, tuple[str, Callable[[], nn.Module]]] = {
    "ResNet, fc": ("resnet18", lambda: Headed(headless("resnet18", "fc"), nn.Linear(512, CLASSES))),
    "ResNet, fc.1": ("resnet18", lambda: Headed(headless("resnet18", "fc"), dropped(512))),
    "sequential ResNet": ("resnet18", Sequential),
    "EfficientNet": ("efficientnet_b0", lambda: Headed(headless("efficientnet_b0", "classifier"), dropped(1280))),
}


@pytest.mark.parametrize(("layout", "outer"), [*((layout, "") for layout in WRAPPED), ("ResNet, fc", "module.")])
def test_wrapped(tmp_path: Path, layout: str, outer: str) -> None:
    name, build = WRAPPED[layout]
    own = varied(build())
    state = prefixed(own.state_dict(), outer)
    found = load_model(checkpoint=saved(tmp_path / "best.pt", {"model_state_dict": state, "config": Config()}))
    assert model_info(found).spec == f"torchvision:{name}"
    torch.testing.assert_close(logits(found), logits(own), rtol=1e-5, atol=1e-6)


def light(model: nn.Module) -> nn.Module:
    """Weights for a model that was built without: views of one storage, so that the file is small too."""
    state = model.state_dict()
    # A quarter of the bytes: what repeats many times over is refused.
    size = max(sum(value.numel() for value in state.values()) // 4, max(value.numel() for value in state.values()))
    pool = 0.05 * torch.randn(size, generator=torch.Generator())
    views = {key: pool[: value.numel()].view(value.shape) for key, value in state.items()}
    model.load_state_dict(views, assign=True)
    return model.eval()


def wrapped_transformer() -> nn.Module:
    with weightless():
        empty = Headed(headless("vit_b_32", "heads"), nn.Linear(768, CLASSES))
    return light(empty)


def test_wrapped_vision_transformer(tmp_path: Path) -> None:
    own = wrapped_transformer()
    keys = set(own.state_dict())
    assert {"backbone.class_token", "backbone.conv_proj.weight", "fc.weight"} <= keys
    assert "backbone.encoder.layers.encoder_layer_0.ln_1.weight" in keys
    found = load_model(checkpoint=saved(tmp_path / "best.pt", {"model_state_dict": own.state_dict()}))
    assert model_info(found).spec == "torchvision:vit_b_32"
    picture = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(logits(found, picture), logits(own, picture), rtol=1e-5, atol=1e-6)


# Which architecture it is.


@pytest.mark.parametrize(
    "beside",
    [
        {"architecture": "mobilenetv3_small_050"},
        {"arch": "timm:mobilenetv3_small_050"},
        {"config": {"model": "mobilenetv3_small_050"}},
        {"config": {"model": {"name": "mobilenetv3_small_050"}}},
        {},
    ],
)
def test_timm(tmp_path: Path, beside: dict[str, object]) -> None:
    own = varied(timm.create_model("mobilenetv3_small_050", num_classes=CLASSES))
    path = saved(tmp_path / "best.pt", {"state_dict": own.state_dict(), **beside})
    assert_loads(path, own, "timm:mobilenetv3_small_050")


def test_torchvision_comes_before_timm(tmp_path: Path) -> None:
    """timm's ResNet has the names, the shapes and the sums of torchvision's."""
    own = varied(timm.create_model("resnet18", num_classes=CLASSES))
    found = load_model(checkpoint=saved(tmp_path / "best.pt", own.state_dict()))
    assert model_info(found).spec == "torchvision:resnet18"
    torch.testing.assert_close(logits(found), logits(own), rtol=1e-5, atol=1e-6)


def test_what_several_architectures_fit_is_asked_for(tmp_path: Path) -> None:
    own = varied(timm.create_model("efficientnet_b0", num_classes=CLASSES))
    path = saved(tmp_path / "best.pt", own.state_dict())
    with pytest.raises(CheckpointError) as error:
        load_model(checkpoint=path)
    assert str(error.value) == (
        "the weights fit 3 architectures that compute differently, timm:efficientnet_b0, timm:efficientnet_blur_b0, "
        "timm:tf_efficientnet_b0; choose with spec="
    )
    chosen, other = (load_model(f"timm:{name}efficientnet_b0", path) for name in ("", "tf_"))
    assert torch.equal(logits(chosen), logits(own))
    assert not torch.allclose(logits(other), logits(own), rtol=1e-3)


def test_a_stated_architecture_that_the_weights_are_not_of_is_not_believed(trained: nn.Module, tmp_path: Path) -> None:
    content = {"state_dict": trained.state_dict(), "arch": "resnet18"}
    assert_loads(saved(tmp_path / "best.pt", content), trained)


def test_classes_and_channels_come_from_the_weights(tmp_path: Path) -> None:
    own = torchvision.models.get_model(NAME, num_classes=2)
    own.conv1[0] = nn.Conv2d(1, 24, 3, 2, 1, bias=False)
    own = varied(own)
    pictures = torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(3))
    found = load_model(checkpoint=saved(tmp_path / "best.pt", own.state_dict()), num_classes=2)
    assert torch.equal(logits(found, pictures), logits(own, pictures))
