"""``xrv:densenet121-res224-all``: the chest radiograph networks of torchxrayvision."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from pellucid.errors import SourceError, did_you_mean
from pellucid.models.checkpoints import load_into
from pellucid.models.checkpoints.layouts import find_state
from pellucid.models.checkpoints.modules import weights_of
from pellucid.models.checkpoints.rebuilding import Inert
from pellucid.models.checkpoints.reference import weightless
from pellucid.models.checkpoints.saved import read_saved
from pellucid.models.operators import imported
from pellucid.models.preprocessing import Preprocessing
from pellucid.models.sources.base import ModelInfo, ModelRequest, downloading, number_of_classes, package

BARE = ("densenet121", "resnet50")
HEADS = {"densenet121": "classifier", "resnet50": "fc"}
SIDES = {"densenet121": 224, "resnet50": 512}
FINDINGS = 18


class XRVSource:
    """torchxrayvision's classifiers by the names of their weights, or bare ``densenet121`` and ``resnet50``.

    The model returns the logits: torchxrayvision's own sigmoid, and its scaling by operating points, come
    after them and are left out. Its weights are pickled; they are read without running anything in them.
    """

    prefix = "xrv"
    brings_weights = False

    def outline(self, request: ModelRequest) -> nn.Module:
        """Build the architecture without memory for its weights. ``SourceError``: no such name."""
        with weightless():
            return _bare(_known(request.name), FINDINGS, 1)

    def build(self, request: ModelRequest) -> nn.Module:
        """Build the model. ``SourceError``: no such name, or its weights cannot be loaded."""
        kind, count, channels = _known(request.name), request.num_classes or FINDINGS, request.in_channels or 1
        if not request.pretrained:
            return _bare(kind, count, channels)
        model = _bare(kind, FINDINGS, 1)
        _load(model, request.name)
        if count != FINDINGS:
            setattr(model, HEADS[kind], nn.Linear(model.get_submodule(HEADS[kind]).in_features, count))  # type: ignore[arg-type]
        return model

    def info(self, request: ModelRequest, model: nn.Module) -> ModelInfo:
        """Return the findings that the weights were trained on, and the preprocessing."""
        kind = _known(request.name)
        labels = [] if request.name == kind else _library().models.model_urls[request.name]["labels"]
        # A finding that the training data lacks has an empty name.
        names = tuple(label or f"class {index}" for index, label in enumerate(labels))
        fitting = len(names) == number_of_classes(model, HEADS[kind])
        side = SIDES[kind]
        # Pixels in [0, 1] are mapped to [-1024, 1024].
        scaled = Preprocessing(side, (side, side), (0.5,), (1 / 2048,), "bilinear", 1, "torchxrayvision")
        return ModelInfo(
            classes=names if fitting else None,
            head="sigmoid",
            preprocessing=scaled.for_channels(request.in_channels or 1),
        )

    def named(self, state: dict[str, Tensor], _: nn.Module) -> dict[str, Tensor]:
        """Return the weights without the operating points, and without the wrapper around the ResNet."""
        rest = {key: value for key, value in state.items() if key != "op_threshs"}
        wrapped = all(key.startswith("model.") for key in rest)
        return {key.removeprefix("model."): value for key, value in rest.items()} if wrapped else rest


def _library() -> Any:
    return package("torchxrayvision", "xrv")


def _known(name: str) -> str:
    """Return the architecture of a name. ``SourceError``: no such name."""
    urls = _library().models.model_urls
    names = [*BARE, *(each for each in urls if each.startswith(tuple(f"{kind}-" for kind in BARE)))]
    if name not in names:
        raise SourceError(
            f"xrv:{name} is no model of torchxrayvision{did_you_mean(name, names)}; there are {', '.join(names)}"
        )
    return name.partition("-")[0]


def _bare(kind: str, classes: int, channels: int) -> nn.Module:
    """Build the network, without the sigmoid after its logits."""
    if kind == "densenet121":
        dense: nn.Module = _library().models.DenseNet(num_classes=classes, in_channels=channels)
        return dense
    torchvision = imported("torchvision")
    model: nn.Module = torchvision.models.resnet50(num_classes=classes)
    model.conv1 = nn.Conv2d(channels, 64, kernel_size=7, stride=2, padding=3, bias=False)
    return model


def _load(model: nn.Module, name: str) -> None:
    if name in BARE:
        raise SourceError(
            f"xrv:{name} is an architecture, which has no weights of its own; name weights such as "
            f"xrv:{'densenet121-res224-all' if name == 'densenet121' else 'resnet50-res512-all'}"
        )
    with downloading(f"xrv:{name}"):
        with redirect_stdout(sys.stderr):  # its progress must not get into the command's output
            path = Path(_library().models.get_weights(name))
        load_into(model, SOURCE.named(_read(path), model), path)


def _read(path: Path) -> dict[str, Tensor]:
    """Return the weights in a file that contains a whole pickled module, or plain weights."""
    content = read_saved(path)
    return weights_of(content, path).state if isinstance(content, Inert) else find_state(content, path)


SOURCE = XRVSource()
