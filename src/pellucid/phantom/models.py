"""Small trained networks that detect the findings on drawn radiographs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from pellucid.errors import OptionError
from pellucid.models.operators import imported
from pellucid.models.sources import ModelInfo
from pellucid.models.sources.base import ModelRequest, seeded
from pellucid.models.sources.file import SOURCE
from pellucid.models.sources.loading import _remember
from pellucid.phantom.lesions import FINDINGS

SIDE = 128
GRID = 16
"""Cells per side of the last spatial layer of every network: a cell is 8 × 8 pixels."""


class Classifier(nn.Module):
    """A network of this package with its classes, head and preprocessing, as a model factory declares them.

    ``network`` returns logits (B, 3), one per finding in the order of ``FINDINGS``, for images (B, 1, 128, 128)
    normalised by ``preprocessing``. It is wrapped because timm's transformer has a layer named ``head``, too.
    ``located`` is the index, from the end, of the stage whose cells the network aggregates: the last one before a mean,
    or the one before the last block in which a class token attends to the patches.
    """

    classes: ClassVar[tuple[str, ...]] = FINDINGS
    head: ClassVar[str] = "sigmoid"
    preprocessing: ClassVar[dict[str, Any]] = {"size": (SIDE, SIDE), "mean": (0.5,), "std": (0.28,)}

    def __init__(self, network: Any, located: int = -1) -> None:
        super().__init__()
        self.network = network
        self._located = located

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (B, 3)."""
        logits: Tensor = self.network(images)
        return logits

    def located(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits (B, 3), and the same classifier's logits for each cell alone, (B, 3, 16, 16)."""
        features, (cells,) = self.network.forward_intermediates(images, indices=[self._located], norm=True)
        by_cell: Tensor = self.network.get_classifier()(cells.movedim(1, -1))
        return self.network.forward_head(features), by_cell.movedim(-1, 1)


def cnn() -> Classifier:
    """A trained residual network with ReLU and batch normalisation, whose last grid is 16 × 16.

    >>> import pellucid
    >>> pellucid.model_info(cnn()).classes
    ('nodule', 'consolidation', 'cavity')
    """
    return _trained("cnn")


def vit() -> Classifier:
    """A trained vision transformer with a class token and patches of 8 × 8 pixels, whose grid is 16 × 16.

    >>> import pellucid
    >>> pellucid.model_info(vit()).head
    'sigmoid'
    """
    return _trained("vit")


def swin() -> Classifier:
    """A trained Swin transformer with shifted attention windows of 8 × 8 cells, whose last grid is 16 × 16.

    >>> import pellucid
    >>> pellucid.model_info(swin()).preprocessing.resize
    (128, 128)
    """
    return _trained("swin")


def _trained(name: str) -> Classifier:
    from safetensors.torch import load

    model = untrained(name)
    weights = resources.files("pellucid.phantom") / "weights" / f"{name}.safetensors"
    model.network.load_state_dict(load(weights.read_bytes()))
    spec = f"pellucid.phantom:{name}"
    # As load_model does for a factory in a user's file: read what the model declares.
    _remember(model, SOURCE, ModelRequest(spec), ModelInfo(spec, weights="default"))
    return model


def untrained(name: str) -> Classifier:
    """Build a network by its name with random weights, which are always the same."""
    if name not in ARCHITECTURES:
        raise OptionError(f"network {name!r} was asked for; there are {', '.join(ARCHITECTURES)}")
    imported("timm")
    with seeded():
        return ARCHITECTURES[name].build()


def _residual() -> Classifier:
    from timm.models.resnet import BasicBlock, ResNet

    network = ResNet(
        BasicBlock,  # type: ignore[arg-type]  # timm annotates an instance, and expects the class
        (1, 1, 1, 1),
        num_classes=len(FINDINGS),
        in_chans=1,
        output_stride=8,
        stem_type="deep",
        stem_width=8,
        channels=(24, 40, 64, 96),
    )
    # Stride 8 instead of 32: a cell of the last grid is then as large as a nodule. timm compensates with dilated
    # kernels, which shift the evidence away from the finding, so the dilation is removed.
    for part in network.modules():
        if isinstance(part, nn.Conv2d) and part.dilation != (1, 1):
            part.dilation = part.padding = (1, 1)
    return Classifier(network, located=-1)


def _transformer() -> Classifier:
    from timm.layers.pos_embed_sincos import build_sincos2d_pos_embed
    from timm.models.vision_transformer import VisionTransformer

    width = 64
    network = VisionTransformer(
        img_size=SIDE,
        patch_size=SIDE // GRID,
        in_chans=1,
        num_classes=len(FINDINGS),
        embed_dim=width,
        depth=4,
        num_heads=2,
        weight_init="jax",
    )
    # Sinusoidal position embeddings: unlike random ones they encode neighbourhood from the first step on.
    with torch.no_grad():
        network.get_parameter("pos_embed")[0, 1:] = build_sincos2d_pos_embed([GRID, GRID], width)
    return Classifier(network, located=-2)


def _windowed() -> Classifier:
    from timm.models.swin_transformer import SwinTransformer

    network = SwinTransformer(
        img_size=SIDE,
        patch_size=4,
        in_chans=1,
        num_classes=len(FINDINGS),
        embed_dim=40,
        depths=(2, 2),
        num_heads=(2, 4),
        window_size=8,
        drop_path_rate=0.0,
    )
    return Classifier(network, located=-1)


@dataclass(frozen=True)
class Architecture:
    """One of the networks: the name that a reader sees, how to build it, and how to load it with its weights."""

    title: str
    build: Callable[[], Classifier]
    trained: Callable[[], Classifier]


ARCHITECTURES: Mapping[str, Architecture] = {
    "cnn": Architecture("convolutional network", _residual, cnn),
    "vit": Architecture("vision transformer", _transformer, vit),
    "swin": Architecture("Swin transformer", _windowed, swin),
}
"""The networks by name, in the order in which they are shown."""
