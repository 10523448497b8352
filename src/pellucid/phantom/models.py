"""Three small networks that find the findings on drawn radiographs, with their weights."""

from __future__ import annotations

from importlib import resources
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from pellucid.errors import OptionError
from pellucid.models.sources import ModelInfo
from pellucid.models.sources.base import ModelRequest, seeded
from pellucid.models.sources.file import SOURCE
from pellucid.models.sources.loading import _remember
from pellucid.phantom.lesions import FINDINGS

SIDE = 128
GRID = 16
"""Cells a side of the last layers that have a place: 8 × 8 pixels a cell, in all networks."""


class Classifier(nn.Module):
    """A network of this package, and what a factory's model states of itself.

    ``network`` gives logits (B, 3), one a finding in the order of ``FINDINGS``, of images (B, 1, 128, 128)
    normalised as ``preprocessing`` says. A module around the network, since timm's transformer has a layer that
    is called ``head``. ``located`` is the place, from the end, of the stage whose cells the network sums up: a
    mean's own input, but the one before a class token's last look at the patches.
    """

    classes: ClassVar[tuple[str, ...]] = FINDINGS
    head: ClassVar[str] = "sigmoid"
    preprocessing: ClassVar[dict[str, Any]] = {"size": (SIDE, SIDE), "mean": (0.5,), "std": (0.28,)}

    def __init__(self, network: Any, located: int = -1) -> None:
        super().__init__()
        self.network = network
        self._located = located

    def forward(self, images: Tensor) -> Tensor:
        """Give the logits (B, 3)."""
        logits: Tensor = self.network(images)
        return logits

    def located(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Give the logits (B, 3), and what the same classifier says of each cell by itself, (B, 3, 16, 16)."""
        features, (cells,) = self.network.forward_intermediates(images, indices=[self._located], norm=True)
        said: Tensor = self.network.get_classifier()(cells.movedim(1, -1))
        return self.network.forward_head(features), said.movedim(-1, 1)


def cnn() -> Classifier:
    """A residual network with ReLU and batch normalisation, trained; its last grid is 16 × 16.

    >>> import pellucid
    >>> pellucid.model_info(cnn()).classes
    ('nodule', 'consolidation', 'cavity')
    """
    return _trained("cnn")


def vit() -> Classifier:
    """A vision transformer with a class token and patches of 8 × 8 pixels, trained; its grid is 16 × 16.

    >>> import pellucid
    >>> pellucid.model_info(vit()).head
    'sigmoid'
    """
    return _trained("vit")


def swin() -> Classifier:
    """A Swin transformer, which attends within shifted windows of 8 × 8 cells, trained; its last grid is 16 × 16.

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
    # As load_model does with a factory of the user's own file: read what the model states.
    _remember(model, SOURCE, ModelRequest(spec), ModelInfo(spec, weights="default"))
    return model


def untrained(name: str) -> Classifier:
    """Build "cnn", "vit" or "swin" with random weights, the same every time."""
    if name not in _ARCHITECTURES:
        raise OptionError(f"network {name!r} was asked for; there are {', '.join(_ARCHITECTURES)}")
    with seeded():
        return _ARCHITECTURES[name]()


def _residual() -> Classifier:
    from timm.models.resnet import BasicBlock, ResNet

    network = ResNet(
        BasicBlock,  # type: ignore[arg-type]  # timm says the block, and means its class
        (1, 1, 1, 1),
        num_classes=len(FINDINGS),
        in_chans=1,
        output_stride=8,
        stem_type="deep",
        stem_width=8,
        channels=(24, 40, 64, 96),
    )
    # Stride 8 instead of 32, as a cell of the last grid is then as large as a nodule. timm makes up for it by
    # dilated kernels, which put the evidence beside what it is evidence of: theirs are made plain again.
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
    # Waves instead of noise, to start from: patches know their neighbours from the first step on.
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


_ARCHITECTURES = {"cnn": _residual, "vit": _transformer, "swin": _windowed}
