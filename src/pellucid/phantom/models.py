"""Small trained networks that detect the findings on drawn radiographs.

Most networks in use learnt from labels alone. ``cnn``, ``vit`` and ``swin`` were also taught where findings are, so
that their evidence lies there: explanations look better on them than on other networks. The ``unguided_`` networks
learnt from labels alone, and the ``exclusive_`` ones as well, for one class of four.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import resources
from typing import Any

import torch
from torch import Tensor, nn

from pellucid.core.default_device import on_cpu_by_default
from pellucid.errors import OptionError
from pellucid.models.operators import imported
from pellucid.models.sources import ModelInfo
from pellucid.models.sources.base import ModelRequest, seeded
from pellucid.models.sources.file import SOURCE
from pellucid.models.sources.known import remember
from pellucid.phantom.lesions import FINDINGS
from pellucid.phantom.scene import CLASSES

SIDE = 128
CELL = 8
"""Pixels per side of a cell of the last spatial layer of every network."""
GRID = SIDE // CELL
"""Cells per side of that layer of the networks for 128 × 128 pixels."""
STATISTICS: Mapping[str, tuple[float, ...]] = {"mean": (0.5,), "std": (0.28,)}
"""What the networks' images are normalised with."""


class Classifier(nn.Module):
    """A network of this package with its classes, head and preprocessing, as a model factory declares them.

    ``network`` returns logits (B, C) for images (B, 1, side, side) normalised by ``preprocessing``. It is wrapped
    because timm's transformer has a layer named ``head``, too. ``located`` is the index, from the end, of the stage
    whose cells the network aggregates: the last one before a mean, or the one before the last block in which a class
    token attends to the patches.
    """

    def __init__(self, network: Any, located: int = -1, side: int = SIDE, exclusive: bool = False) -> None:
        super().__init__()
        self.network = network
        self.classes = CLASSES if exclusive else FINDINGS
        self.head = "softmax" if exclusive else "sigmoid"
        self.preprocessing: dict[str, Any] = {"size": (side, side), **STATISTICS}
        self._located = located

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (B, C)."""
        logits: Tensor = self.network(images)
        return logits

    def located(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits (B, C), and the same classifier's logits for each cell alone, (B, C, cells, cells)."""
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


def unguided_cnn() -> Classifier:
    """The network of ``cnn``, trained with labels alone: its evidence need not lie where findings are.

    >>> import pellucid
    >>> pellucid.model_info(unguided_cnn()).spec
    'pellucid.phantom:unguided_cnn'
    """
    return _trained("unguided_cnn")


def unguided_vit() -> Classifier:
    """A vision transformer with a class token, trained with labels alone.

    >>> import pellucid
    >>> pellucid.model_info(unguided_vit()).head
    'sigmoid'
    """
    return _trained("unguided_vit")


def unguided_swin() -> Classifier:
    """The Swin transformer of ``swin``, trained with labels alone.

    >>> import pellucid
    >>> pellucid.model_info(unguided_swin()).classes
    ('nodule', 'consolidation', 'cavity')
    """
    return _trained("unguided_swin")


def exclusive_cnn() -> Classifier:
    """A residual network for one class of four (``CLASSES``), trained with labels alone.

    >>> import pellucid
    >>> pellucid.model_info(exclusive_cnn()).classes
    ('none', 'nodule', 'consolidation', 'cavity')
    """
    return _trained("exclusive_cnn")


def exclusive_vit() -> Classifier:
    """A vision transformer for one class of four (``CLASSES``), trained with labels alone.

    >>> import pellucid
    >>> pellucid.model_info(exclusive_vit()).head
    'softmax'
    """
    return _trained("exclusive_vit")


def exclusive_cnn_64() -> Classifier:
    """A residual network for one class of four (``CLASSES``) in images of 64 × 64 pixels, trained with labels alone.

    >>> import pellucid
    >>> pellucid.model_info(exclusive_cnn_64()).preprocessing.resize
    (64, 64)
    """
    return _trained("exclusive_cnn_64")


@on_cpu_by_default
def _trained(name: str) -> Classifier:
    from safetensors.torch import load

    model = untrained(name)
    weights = resources.files("pellucid.phantom") / "weights" / f"{name}.safetensors"
    model.network.load_state_dict(load(weights.read_bytes()))
    spec = f"pellucid.phantom:{name}"
    # As load_model does for a factory in a user's file: read what the model declares.
    remember(model, SOURCE, ModelRequest(spec), ModelInfo(spec, weights="default"))
    return model


@on_cpu_by_default
def untrained(name: str, seed: int = 0) -> Classifier:
    """Build a network by its name with the random weights of a seed, which are always the same."""
    if name not in NETWORKS:
        raise OptionError(f"network {name!r} was asked for; there are {', '.join(NETWORKS)}")
    imported("timm")
    with seeded(seed):
        return NETWORKS[name].build()


def _residual(side: int = SIDE, exclusive: bool = False) -> Classifier:
    from timm.models.resnet import BasicBlock, ResNet

    network = ResNet(
        BasicBlock,  # type: ignore[arg-type]  # timm annotates an instance, and expects the class
        (1, 1, 1, 1),
        num_classes=_outputs(exclusive),
        in_chans=1,
        output_stride=CELL,
        stem_type="deep",
        stem_width=8,
        channels=(24, 40, 64, 96),
    )
    # Stride 8 instead of 32: a cell of the last grid is then as large as a nodule. timm compensates with dilated
    # kernels, which shift the evidence away from the finding, so the dilation is removed.
    for part in network.modules():
        if isinstance(part, nn.Conv2d) and part.dilation != (1, 1):
            part.dilation = part.padding = (1, 1)
    return Classifier(network, -1, side, exclusive)


def _transformer(exclusive: bool = False) -> Classifier:
    from timm.layers.pos_embed_sincos import build_sincos2d_pos_embed
    from timm.models.vision_transformer import VisionTransformer

    width = 64
    network = VisionTransformer(
        img_size=SIDE,
        patch_size=CELL,
        in_chans=1,
        num_classes=_outputs(exclusive),
        embed_dim=width,
        depth=4,
        num_heads=2,
        weight_init="jax",
    )
    # Sinusoidal position embeddings: unlike random ones they encode neighbourhood from the first step on.
    with torch.no_grad():
        network.get_parameter("pos_embed")[0, 1:] = build_sincos2d_pos_embed([GRID, GRID], width)
    return Classifier(network, -2, SIDE, exclusive)


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
    return Classifier(network, -1)


def _outputs(exclusive: bool) -> int:
    return len(CLASSES if exclusive else FINDINGS)


@dataclass(frozen=True)
class Architecture:
    """One of the networks: the name that a reader sees, how to build it, and how to load it with its weights.

    ``guided``: it was also taught where findings are.
    """

    title: str
    build: Callable[[], Classifier]
    trained: Callable[[], Classifier]
    guided: bool = False


ARCHITECTURES: Mapping[str, Architecture] = {
    "cnn": Architecture("convolutional network", _residual, cnn, guided=True),
    "vit": Architecture("vision transformer", _transformer, vit, guided=True),
    "swin": Architecture("Swin transformer", _windowed, swin, guided=True),
}
"""The networks that were also taught where findings are, by name, in the order in which they are shown."""
UNGUIDED: Mapping[str, Architecture] = {
    "unguided_cnn": Architecture("convolutional network", _residual, unguided_cnn),
    "unguided_vit": Architecture("vision transformer", _transformer, unguided_vit),
    "unguided_swin": Architecture("Swin transformer", _windowed, unguided_swin),
}
"""The networks for several findings that learnt from labels alone."""
EXCLUSIVE: Mapping[str, Architecture] = {
    "exclusive_cnn": Architecture(
        "convolutional network, one class of four", partial(_residual, exclusive=True), exclusive_cnn
    ),
    "exclusive_vit": Architecture(
        "vision transformer, one class of four", partial(_transformer, exclusive=True), exclusive_vit
    ),
    "exclusive_cnn_64": Architecture(
        "convolutional network, one class of four, 64 × 64", partial(_residual, 64, exclusive=True), exclusive_cnn_64
    ),
}
"""The networks for one class of four, which learnt from labels alone."""
NETWORKS: Mapping[str, Architecture] = {**ARCHITECTURES, **UNGUIDED, **EXCLUSIVE}
"""All networks by name."""
