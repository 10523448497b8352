"""Weights files as trainers save them: each gives the network that was saved, or a message whose remedy gives it."""

from __future__ import annotations

import copy
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from pellucid import load_model
from pellucid.errors import PellucidWarning

CLASSES = 5
NAME, SPEC, WIDTH = "shufflenet_v2_x0_5", "torchvision:shufflenet_v2_x0_5", 1024
IMAGE = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(3))


@pytest.fixture(autouse=True)
def _random_state() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def varied(model: nn.Module, seed: int = 1) -> nn.Module:
    """A model whose every weight and statistic is unlike a fresh one's, in eval mode."""
    generator = torch.Generator().manual_seed(seed)
    for tensor in model.state_dict().values():
        if tensor.is_floating_point():
            tensor.mul_(1 + 0.1 * torch.rand(tensor.shape, generator=generator)).add_(0.001)
    return model.eval()


def body(head: nn.Module | None = None, name: str = NAME, at: str = "fc") -> nn.Module:
    """An architecture with another head."""
    model = torchvision.models.get_model(name, weights=None, num_classes=CLASSES)
    if head is not None:
        model.set_submodule(at, head)
    return model


def mlp(*between: nn.Module, width: int = WIDTH, hidden: int = 16) -> nn.Sequential:
    return nn.Sequential(nn.Dropout(), nn.Linear(width, hidden), *between, nn.Linear(hidden, CLASSES))


def with_head(model: nn.Module, head: nn.Module, at: str) -> nn.Module:
    model.set_submodule(at, head)
    return model


class Headed(nn.Module):
    """A backbone and a head, by names of the trainer's own."""

    def __init__(self, backbone: nn.Module, head: nn.Module, names: tuple[str, str] = ("encoder", "head")) -> None:
        super().__init__()
        self.names = names
        self.add_module(names[0], backbone)
        self.add_module(names[1], head)

    def forward(self, x: Tensor) -> Tensor:
        return getattr(self, self.names[1])(getattr(self, self.names[0])(x))


class Layers(nn.Module):
    """A backbone and linear layers without an nn.Sequential."""

    def __init__(self) -> None:
        super().__init__()
        self.cnn = body(nn.Identity())
        self.fc1 = nn.Linear(WIDTH, 16)
        self.bn1 = nn.BatchNorm1d(16)
        self.fc2 = nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(torch.relu(self.bn1(self.fc1(self.cnn(x)))))


def under(prefix: str, state: Mapping[str, Tensor]) -> OrderedDict[str, Tensor]:
    return OrderedDict((prefix + key, value) for key, value in state.items())


def state_of(model: nn.Module, seed: int = 1) -> dict[str, Tensor]:
    return copy.deepcopy(varied(model, seed).state_dict())


def with_average(key: str, averaged: str, prefix: str = "") -> Callable[[nn.Module], object]:
    """The plain weights under one key, averaged ones under another."""

    def content(own: nn.Module) -> object:
        other = state_of(body(), seed=7)
        return {key: own.state_dict(), averaged: under(prefix, other), "epoch": 3}

    return content


def keyed(key: str, prefix: str = "") -> Callable[[nn.Module], object]:
    return lambda own: {"epoch": 3, key: under(prefix, own.state_dict()), "loss": 0.1}


def swa(own: nn.Module) -> object:
    """As torch.optim.swa_utils saves its average."""
    return AveragedModel(own, multi_avg_fn=get_ema_multi_avg_fn(0.9)).state_dict()


def visualised(own: nn.Module) -> object:
    """As VISSL saves: the trunk and the heads apart, deep in the file."""
    state = own.state_dict()
    trunk = {f"_feature_blocks.{key.partition('.')[2]}": value for key, value in state.items() if "encoder" in key}
    heads = {f"0.clf.0.{key.partition('.')[2]}": value for key, value in state.items() if "head" in key}
    return {"classy_state_dict": {"base_model": {"model": {"trunk": trunk, "heads": heads}}}}


def parts(own: nn.Module) -> object:
    state = own.state_dict()
    pairs = [key.partition(".") for key in state]
    names = dict.fromkeys(pair[0] for pair in pairs)
    return {name: {key.partition(".")[2]: state[key] for key in state if key.startswith(f"{name}.")} for name in names}


ONE, SEVERAL = nn.Linear(WIDTH, CLASSES), r"the head is taken for Linear\(1024, 16\)"
OTHERS = "the file has others under"

LOADED: dict[str, tuple[Callable[[], nn.Module], Callable[[nn.Module], object], str | None]] = {
    # Heads of several layers.
    "Dropout, Linear": (lambda: body(nn.Sequential(nn.Dropout(), nn.Linear(WIDTH, CLASSES))), keyed("model"), None),
    "Linear, Sigmoid": (lambda: body(nn.Sequential(nn.Linear(WIDTH, CLASSES))), keyed("state_dict"), None),
    "CheXNet": (
        lambda: body(nn.Sequential(nn.Linear(1024, CLASSES)), "densenet121", "classifier"),
        keyed("state_dict", "module.densenet121."),
        None,
    ),
    "Linear, ReLU, Linear": (lambda: body(mlp(nn.ReLU(), nn.Dropout())), keyed("model"), SEVERAL),
    "two linear layers in a row": (
        lambda: body(nn.Sequential(nn.Linear(WIDTH, 16), nn.Linear(16, CLASSES))),
        keyed("model"),
        None,
    ),
    "batch norm in the head": (lambda: body(mlp(nn.BatchNorm1d(16), nn.ReLU())), keyed("model"), "Linear, BatchNorm1d"),
    "layer norm before the head": (
        lambda: body(nn.Sequential(nn.LayerNorm(WIDTH), nn.Dropout(), nn.Linear(WIDTH, CLASSES))),
        keyed("model"),
        "LayerNorm, Linear",
    ),
    "three hidden layers": (
        lambda: body(
            nn.Sequential(
                *(nn.Linear(WIDTH, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU()),
                nn.Linear(16, CLASSES),
            )
        ),
        keyed("model"),
        r"Linear\(32, 32\), ReLU, Linear\(32, 16\), ReLU, Linear",
    ),
    "EfficientNet's whole classifier": (
        lambda: body(mlp(nn.ReLU(), width=1280), "efficientnet_b0", "classifier"),
        keyed("model"),
        r"Linear\(1280, 16\), ReLU",
    ),
    "MobileNet's classifier replaced": (
        lambda: body(nn.Linear(576, CLASSES), "mobilenet_v3_small", "classifier"),
        keyed("model"),
        None,
    ),
    "a head beside its backbone": (lambda: Headed(body(nn.Identity()), mlp(nn.ReLU())), keyed("net"), SEVERAL),
    "layers beside their backbone": (Layers, keyed("state_dict", "model."), SEVERAL),
    "timm's head replaced": (
        lambda: with_head(timm.create_model("mobilenetv3_small_050"), mlp(nn.ReLU()), "classifier"),
        keyed("state_dict"),
        SEVERAL,
    ),
    # Keys.
    **{key: (body, keyed(key), None) for key in ("net", "weights", "params", "params_ema", "network", "ema_model")},
    "best.model": (body, lambda own: {"best": {"model": own.state_dict(), "epoch": 3}, "history": [1, 2]}, None),
    "in a tuple": (body, lambda own: (3, own.state_dict()), None),
    "DeepSpeed": (body, lambda own: {"module": own.state_dict(), "dp_world_size": 1, "optimizer": None}, None),
    "timm's trainer": (body, with_average("state_dict", "state_dict_ema"), OTHERS),
    "torchvision's references": (body, with_average("model", "model_ema", "module."), OTHERS),
    "model and ema": (body, with_average("model", "ema"), OTHERS),
    "averaged beside in one state": (
        body,
        lambda own: {"state_dict": under("model.", own.state_dict()) | under("ema_model.module.", state_of(body(), 7))},
        OTHERS,
    ),
    "SWA": (body, swa, None),
    "the best twice": (
        body,
        lambda own: {"model": own.state_dict(), "best": copy.deepcopy(own.state_dict())},
        None,
    ),
    # Prefixes.
    **{
        prefix: (body, keyed("state_dict", prefix), None)
        for prefix in ("encoder.", "features_extractor.", "backbone.model.", "module.encoder.net.", "my_net._orig_mod.")
    },
    "wrapped by another name": (lambda: Headed(body(nn.Identity()), nn.Linear(WIDTH, CLASSES)), keyed("model"), None),
    "MMPretrain": (
        lambda: Headed(body(nn.Identity()), nn.Sequential(OrderedDict(fc=nn.Linear(WIDTH, CLASSES)))),
        keyed("state_dict"),
        None,
    ),
    "VISSL": (lambda: Headed(body(nn.Identity()), nn.Linear(WIDTH, CLASSES)), visualised, None),
    "parts under keys of their own": (lambda: Headed(body(nn.Identity()), nn.Linear(WIDTH, CLASSES)), parts, None),
    "a part compiled": (
        body,
        lambda own: {key.replace("stage2.", "stage2._orig_mod."): v for key, v in own.state_dict().items()},
        None,
    ),
    "a part in parallel": (
        lambda: Headed(body(nn.Identity()), nn.Linear(WIDTH, CLASSES)),
        lambda own: {key.replace("encoder.", "encoder.module."): v for key, v in own.state_dict().items()},
        None,
    ),
    "children in a row": (
        lambda: nn.Sequential(*list(body(None, "resnet18").children())[:-1], nn.Flatten(), nn.Linear(512, CLASSES)),
        keyed("model"),
        None,
    ),
    # Numbers.
    "half precision": (lambda: body().half().float(), lambda own: copy.deepcopy(own).half().state_dict(), None),
    "double precision": (body, lambda own: copy.deepcopy(own).double().state_dict(), None),
    "class weights of a loss": (
        body,
        lambda own: {
            "state_dict": under("model.", own.state_dict()) | {"criterion.weight": torch.ones(CLASSES)},
        },
        r"1 weights beside 'model\.' are left out \(criterion\.weight\)",
    ),
}


@pytest.mark.parametrize("layout", LOADED)
def test_loads(tmp_path: Path, layout: str) -> None:
    build, content, warned = LOADED[layout]
    own = varied(build())
    if "half" in layout:
        own = own.half().float()
    torch.save(content(own), tmp_path / "best.pt")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = load_model(checkpoint=tmp_path / "best.pt")
    said = [str(each.message) for each in caught if each.category is PellucidWarning]
    assert len(said) == (warned is not None), said
    with torch.no_grad():
        torch.testing.assert_close(found(IMAGE), own(IMAGE), rtol=1e-6, atol=1e-6)
