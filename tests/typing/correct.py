"""A user's file: every part of the public API, as it is meant to be used. mypy --strict has nothing to say of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import PIL.Image
import torch
from torch import Tensor, nn

import pellucid
from pellucid import Attribution, Explanation, Method, Probe, Runtime, Targets
from pellucid.methods import RISE, GradCAM, IntegratedGradients, SmoothGrad
from pellucid.metrics.pointing import pointing_hits


@pellucid.register_method("mine")
@dataclass(frozen=True)
class Mine(Method):
    """Mine (an example): activations times gradients, to a power."""

    power: float = 1.0

    def __post_init__(self) -> None:
        if self.power < 1:
            raise pellucid.errors.OptionError(f"power must be at least 1, got {self.power}")

    def attribute(self, probe: Probe, targets: Targets) -> Attribution:
        activations, gradients = probe.activations_and_gradients(targets)
        return Attribution((activations * gradients).abs().pow(self.power).sum(dim=2))


def read(model: nn.Module, path: Path) -> tuple[pellucid.Image, Tensor]:
    prepared = pellucid.prepare(model, pellucid.read_image(path))
    return prepared, prepared.values[None]


def explain_in_many_ways(model: nn.Module, images: Tensor) -> Explanation:
    method: Method = SmoothGrad(GradCAM(), samples=8, noise=0.1)
    explainer = pellucid.Explainer(model, method, layers=["layer3", "layer4"], fuse="max", head="sigmoid")
    batches = [explainer(batch, targets="all") for batch in (images[:4], images[4:])]
    first = pellucid.explain(model, images, Mine(power=2), targets=torch.tensor([1]), classes=("well", "ill"))
    pellucid.explain(model, {"image": images}, RISE(masks=50), lambda logits: logits[:, 0] - logits[:, 1])
    pellucid.explain(model, images, "gradcam", pellucid.Region("ill", images[:, 0] > 0))
    pellucid.explain(model, images, IntegratedGradients(), runtime=Runtime(device="cpu", batch_size=2))
    return Explanation.cat([*batches, first.to("cpu")])


def explain_images(model: nn.Module, path: Path, pixels: npt.NDArray[np.uint8]) -> str:
    image = pellucid.read_image(path)
    first = pellucid.explain(model, image)
    both = pellucid.Explainer(model, "saliency")([image, pixels]).with_images(first.images * 2)
    shown = pellucid.show([first, pellucid.explain(model, pixels)], [pellucid.prepare(model, image)], alpha=0.4)
    return shown.html if both.images else pellucid.show(both).html


def look(found: Explanation) -> dict[str, float]:
    sure = found[found.probabilities.amax(dim=1) > 0.5]
    return {one.label(0): float(one.heatmaps.max()) for one in sure if not one.degenerate.any()}


def pointing(found: Explanation, masks: Tensor) -> float:
    return float(pointing_hits(found.heatmaps[:, 0], masks, tolerance=2).float().mean())


def main(path: Path, folder: Path) -> list[Path]:
    model = pellucid.load_model("torchvision:resnet18", weights="default")
    image, values = read(model, path)
    found = explain_in_many_ways(model, values)
    drawn: list[PIL.Image.Image] = pellucid.overlay(found[0], image, alpha=0.4)
    found[:1].save(folder / f"{len(drawn)}.npz")
    hits: Tensor = pellucid.load_explanation(folder / "1.npz").by_layer["layer4"].attributions
    print(pellucid.__version__, pellucid.available_methods(), hits.shape, look(found))
    return pellucid.write(found[0], image, folder, formats=["png", "npz"], model=model)
