"""Cases that are shown as images: the best, the worst, some drawn at random, and some without a finding."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image as Pillow
from scipy.ndimage import binary_dilation, binary_erosion
from torch import Tensor

from pellucid.core.image import Image
from pellucid.core.style import Style
from pellucid.evaluation.evaluation import Example
from pellucid.evaluation.measured import Measured
from pellucid.evaluation.scoring.frame import unpacked
from pellucid.evaluation.scoring.maps import made
from pellucid.evaluation.scoring.measuring import Looked
from pellucid.render.annotation import drawn_on
from pellucid.render.encoding import png, thumbnail

EACH = 3
"""So many cases of each kind are shown."""
FOLDER = "examples"
_SIDE = 768
"""The longest side of an example's image, in pixels."""


@dataclass(frozen=True)
class _Chosen:
    """A case that is shown: its number among the findings that are scored, or among the images without one."""

    kind: str
    number: int
    value: float | None


def examples(looked: Looked, measured: Measured) -> tuple[list[Example], dict[str, bytes]]:
    """The cases that are shown, of the first method, and their images by file name, for the folder ``FOLDER``.

    The best and the worst are chosen by the primary metric, those of equal value at random, like the others.
    """
    if not measured.methods:
        return [], {}
    found: list[Example] = []
    files: dict[str, bytes] = {}
    for number, one in enumerate(_chosen(measured, looked.plan.seed)):
        example, image = _drawn(looked, measured, one, f"{number:02}.png")
        found.append(example)
        files[f"{number:02}.png"] = image
    return found, files


def _chosen(measured: Measured, seed: int) -> Iterator[_Chosen]:
    values = measured.values["label"][measured.methods[0]][measured.primary]
    generator = np.random.default_rng(seed)
    known = generator.permutation(np.flatnonzero(~np.isnan(values)))
    upwards = measured.metrics[measured.primary].better != "lower"
    order = known[np.argsort(-values[known] if upwards else values[known], kind="stable")].tolist()
    best = order[: min(EACH, len(order) // 2)]
    worst = order[::-1][: min(EACH, len(order) // 2)]
    random = generator.permutation(len(values))[:EACH].tolist()
    for kind, numbers in (("best", best), ("worst", worst), ("random", random)):
        yield from (_Chosen(kind, number, _known(values[number])) for number in numbers)
    without = sorted(generator.permutation(len(measured.without))[:EACH].tolist())
    yield from (_Chosen("without a finding", number, None) for number in without)


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _drawn(looked: Looked, measured: Measured, one: _Chosen, file: str) -> tuple[Example, bytes]:
    batches, method = looked.batches, measured.methods[0]
    is_free = one.kind == "without a finding"
    number = batches.without[one.number] if is_free else batches.image_of(one.number)
    images = next(batches.opened([[number]]))
    if is_free:
        batch, mask = batches.of_images([number], images), None
        label, text = batches.class_name(int(batch.classes[0])), "no finding"
    else:
        finding = measured.findings[one.number]
        batch, _ = batches.of_findings([one.number], images)
        mask = unpacked(batches.mask_of(one.number), batches.space)
        label, text = finding.label, f"finding of {100 * finding.area:.1f} % of the image, outlined"
    scorer = looked.scorer
    heat = made(method, scorer.asked, scorer.network, batch, scorer.seed).maps["heatmaps"][0]
    drawn = _image(images[number], torch.nan_to_num(heat), mask)
    seen = measured.images[number]
    return Example(
        one.kind,
        seen.name,
        method,
        label,
        one.value,
        f"{text}{_probability(seen.probabilities, label)}",
        f"{FOLDER}/{file}",
    ), png(drawn, thumbnail(drawn, drawn.size))


def _probability(probabilities: Mapping[str, float] | None, label: str) -> str:
    if probabilities is None or label not in probabilities:
        return ""
    return f"; the model's probability of {label} is {probabilities[label]:.2f}"


def _image(image: Image, heat: Tensor, mask: Tensor | None) -> Pillow.Image:
    """The map on the image as it was read, with the finding's outline; of a volume the slice of the finding or peak."""
    geometry, pixels = image.geometry, image.original.pixels
    restored = geometry.restore(heat[None, None])[0, 0]
    inside = geometry.inside()
    outline = None if mask is None else geometry.restore(mask[None, None].float())[0, 0] >= 0.5
    if restored.ndim == 3:
        at = _slice(restored if outline is None or not bool(outline.any()) else outline.float())
        pixels, restored, inside = pixels[:, at], restored[at], inside[at]
        outline = None if outline is None else outline[at]
    drawn = drawn_on(pixels, restored, Style(), inside, empty=not bool(heat.any()))
    factor = min(1.0, _SIDE / max(drawn.size))
    size = tuple(max(1, round(side * factor)) for side in drawn.size)
    smaller = drawn.resize(size, Pillow.Resampling.BILINEAR)  # type: ignore[arg-type]  # two sides
    return smaller if outline is None else _outlined(smaller, outline)


def _slice(values: Tensor) -> int:
    return int(values.flatten(1).sum(1).argmax())


def _outlined(drawn: Pillow.Image, mask: Tensor) -> Pillow.Image:
    """An image with a mask's outline, white within black: it is seen on every colour."""
    flags = Pillow.fromarray(mask.numpy().astype(np.uint8) * 255).resize(drawn.size, Pillow.Resampling.NEAREST)
    inside = np.array(flags) > 0
    width = max(1, max(drawn.size) // 150)
    white = binary_dilation(inside, iterations=width) & ~inside
    black = (binary_dilation(inside, iterations=2 * width) & ~inside & ~white) | (
        inside & ~binary_erosion(inside, iterations=width)
    )
    colours = np.array(drawn.convert("RGB"))
    colours[white], colours[black] = 255, 0
    return Pillow.fromarray(colours)
