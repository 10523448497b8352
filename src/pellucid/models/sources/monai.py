"""``monai:densenet121`` in two dimensions, ``monai:densenet121-3d`` in three: MONAI's classification networks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from pellucid.errors import MissingPackageError, SourceError, did_you_mean
from pellucid.models.sources.base import ModelInfo, ModelRequest, outlined, package

CLASSES: Mapping[str, str] = {
    **{f"densenet{depth}": f"DenseNet{depth}" for depth in (121, 169, 201, 264)},
    **{f"resnet{depth}": f"resnet{depth}" for depth in (10, 18, 34, 50, 101, 152, 200)},
    **{f"seresnet{depth}": f"SEResNet{depth}" for depth in (50, 101, 152)},
    **{f"seresnext{depth}": f"SEResNext{depth}" for depth in (50, 101)},
    "senet154": "SENet154",
    **{f"efficientnet-b{size}": "EfficientNetBN" for size in range(9)},
    "vit": "ViT",
}
VIT_SIDES = {2: 224, 3: 96}
VIT_HEAD = "classification_head."


class MonaiSource:
    """MONAI's classification networks by their names, in two dimensions, or in three with ``-3d`` at the end.

    One input channel and two classes, unless a checkpoint or ``num_classes`` states others. The ViT takes
    224² pixels or 96³ voxels in patches of 16, and returns its logits: the tanh that MONAI puts after
    them is left out.
    """

    prefix = "monai"
    brings_weights = False

    def outline(self, request: ModelRequest) -> nn.Module:
        """Build the architecture, if possible without memory for its weights. ``SourceError``: no such name."""
        return outlined(lambda: _create(request))

    def build(self, request: ModelRequest) -> nn.Module:
        """Build the model. ``SourceError``: no such name, or pretrained weights are requested."""
        if request.pretrained:
            _parsed(request.name)
            raise SourceError(
                f"monai:{request.name}: MONAI has no weights of whole classifiers for download; give a checkpoint, or "
                "leave out weights='default'"
            )
        return _create(request)

    def info(self, request: ModelRequest, _model: nn.Module) -> ModelInfo:
        """Return the input size of a ViT; MONAI states no classes and no preprocessing."""
        name, rank = _parsed(request.name)
        size = (request.in_channels or 1, *(VIT_SIDES[rank],) * rank)
        return ModelInfo(input_size=size if name == "vit" else None)

    def named(self, state: dict[str, Tensor], outline: nn.Module) -> dict[str, Tensor]:
        """Return a ViT's weights under the names that they have without its tanh, without those that no pass uses."""
        if not hasattr(outline, "classification_head"):
            return state
        kept = {key: value for key, value in state.items() if ".cross_attn." not in key}
        return {key.replace(f"{VIT_HEAD}0.", VIT_HEAD): value for key, value in kept.items()}


def _parsed(name: str) -> tuple[str, int]:
    """Return the network's name and the number of dimensions. ``SourceError``: no such name."""
    bare, _, ending = name.lower().rpartition("-")
    known, rank = (bare, int(ending[0])) if ending in ("2d", "3d") else (name.lower(), 2)
    if known not in CLASSES:
        names = [f"{each}{ending}" for each in CLASSES for ending in ("", "-3d")]
        raise SourceError(
            f"monai:{name} is no classification network of MONAI{did_you_mean(name.lower(), names)}; "
            "there are densenet121, resnet18, seresnet50, seresnext50, efficientnet-b0, vit and their like, "
            "each also with -3d"
        )
    return known, rank


def _create(request: ModelRequest) -> nn.Module:
    name, rank = _parsed(request.name)
    nets = package("monai.networks.nets", f"monai:{request.name}")
    channels, classes = request.in_channels or 1, request.num_classes or 2
    options: dict[str, Any] = {"spatial_dims": rank, "num_classes": classes}
    if name.startswith("densenet"):
        options = {"spatial_dims": rank, "in_channels": channels, "out_channels": classes}
    elif name.startswith("resnet"):
        options["n_input_channels"] = channels
    else:
        options["in_channels"] = channels
    if name.startswith("efficientnet"):
        options |= {"model_name": name, "pretrained": False}
    if name == "vit":
        sizes = {"img_size": (VIT_SIDES[rank],) * rank, "patch_size": (16,) * rank}
        options |= {**sizes, "classification": True, "post_activation": "none"}
    try:
        model: nn.Module = getattr(nets, CLASSES[name])(**options)
    except ImportError:  # the ViT needs it; MONAI's message has many lines
        raise MissingPackageError(
            f"monai:{request.name} needs einops, which is not installed: pip install einops"
        ) from None
    return model


SOURCE = MonaiSource()
