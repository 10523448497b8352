"""The maps of a fixed batch, drawn on its images, under the keys that they are logged by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from PIL import Image as Pillow
from torch import Tensor

from pellucid.core.explanation import Explanation
from pellucid.core.style import Style
from pellucid.render import Drawing, drawing, orthogonal, overlay
from pellucid.render.overlay import in_range
from pellucid.run.given import Given

_COLOURS = (1, 3)


def drawn(explanation: Explanation, images: Given, count: int) -> Iterator[tuple[str, Pillow.Image]]:
    """The maps of the first ``count`` images by key, such as ``case-3/gradcam`` or ``case-3/gradcam-class-1``.

    Each is drawn on its image, beside its class and a colour bar; the map of a volume or sequence on three slices.
    Images of a prepared ``pellucid.Image`` are drawn as they were before, others from their least to their largest
    value.
    """
    columns = explanation.targets.shape[1]
    for number in range(min(count, len(explanation))):
        for column in range(columns):
            ending = f"-class-{int(explanation.targets[number, column])}" if columns > 1 else ""
            yield f"case-{number}/{explanation.method}{ending}", _one(explanation.one(number, column), images, number)


def _one(single: Explanation, images: Given, number: int) -> Pillow.Image:
    """The only map of one image's explanation, drawn."""
    if single.heatmaps.ndim == 4:
        return overlay(single, single.images or _plain(images, number), annotated=True)[0]
    heat = single.heatmaps[0, 0].cpu()
    if single.images:
        image = single.images[0]
        return orthogonal(drawing(image, image.geometry.restore(heat[None, None])[0, 0], Style()))
    pixels = _plain(images, number).reshape(-1, *heat.shape)[:1]
    return orthogonal(Drawing(pixels, heat, torch.ones_like(heat, dtype=torch.bool)))


def _plain(images: Given, number: int) -> Tensor:
    """One of the images as the network gets it, in [0, 1]; of other channels than grey and colours their mean."""
    batch = next(iter(images.values())) if isinstance(images, Mapping) else images
    image = in_range(torch.as_tensor(batch[number]).detach().cpu())  # type: ignore[index]  # as explained
    return image if image.shape[0] in _COLOURS else image.float().mean(0, keepdim=True)
