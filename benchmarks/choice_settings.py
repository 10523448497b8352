"""What choices are judged on: drawn radiographs, real ultrasound, and mosaics of photographs."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from PIL import Image as Pillow
from torch import Tensor, nn

import pellucid
from benchmarks import mosaic
from benchmarks.choice_judged import Setting, Truth
from benchmarks.choice_networks import by_heart
from benchmarks.map_attack_networks import TAKEN
from benchmarks.map_attack_networks import ultrasound as scanner
from benchmarks.unguided_networks import SIDE
from pellucid import phantom
from pellucid.core.image import Image
from pellucid.core.replacement import References
from pellucid.errors import OptionError
from pellucid.evaluation.scoring.frame import in_frame
from pellucid.phantom.training import normalised

CHOOSE_SEED, REFERENCE_SEED, TRUTH_SEED = 71_000_000, 72_000_000, 73_000_000
"""The first seeds of images that nothing else of this project was measured on."""
TOLERANCE = 4.0
"""Half a cell of the bundled networks' last grid, in pixels; the same for all families."""
ULTRASOUND_CELL = 32
"""Pixels a side of a cell of the ultrasound network's last grid."""
CHOOSING, JUDGING = 40, 100
"""The findings that choose, and those that judge."""


def cases(count: int, seed: int) -> Truth:
    """``count`` findings of drawn radiographs, each with its image; all of an image are of one patient."""
    drawn = phantom.radiographs(2 * count, SIDE, seed)
    found = drawn.labels.nonzero()[:count]
    rows, classes = found[:, 0], found[:, 1]
    return Truth(normalised(drawn.images[rows]), classes, drawn.masks[rows, classes])


def others(count: int = 200, seed: int = REFERENCE_SEED) -> References:
    """Radiographs whose tissue replaces, with their labels."""
    drawn = phantom.radiographs(count, SIDE, seed)
    return References(normalised(drawn.images), drawn.labels, draws=2)


def phantoms(network: nn.Module, choosing: int = CHOOSING, judging: int = JUDGING) -> Setting:
    """A network on drawn radiographs."""
    own, truth = cases(choosing, CHOOSE_SEED), cases(judging, TRUTH_SEED)
    return Setting(network, "sigmoid", own.images, own.classes, others(), truth, TOLERANCE)


def redrawn(network: nn.Module, choosing: int = CHOOSING, judging: int = JUDGING) -> Setting:
    """A network on drawn radiographs, each beside the same scene without the finding: the ideal replacement."""
    drawn = phantom.radiographs(3 * choosing, SIDE, CHOOSE_SEED)
    images, classes, scenes = [], [], []
    for row, finding in drawn.labels.nonzero().tolist():
        with suppress(OptionError):  # another finding reaches into its region
            scenes.append(phantom.redraw(drawn, row, phantom.FINDINGS[finding], seeds=[row]).images[0])
            images.append(drawn.images[row])
            classes.append(finding)
    own, ideal = (normalised(torch.stack(each[:choosing])) for each in (images, scenes))
    truth = cases(judging, TRUTH_SEED)
    return Setting(network, "sigmoid", own, torch.tensor(classes[:choosing]), others(), truth, TOLERANCE, ideal)


def memorised(choosing: int = CHOOSING, judging: int = JUDGING) -> Setting:
    """A network that knows labels drawn at random by heart, and the images that it learnt.

    What chooses are images and classes that it was taught to call; what judges are those that show the finding, too.
    """
    network, drawn, taught = by_heart()
    called = taught.nonzero()
    shown = (taught & drawn.labels).nonzero()[-judging:]
    images = normalised(drawn.images)
    truth = Truth(images[shown[:, 0]], shown[:, 1], drawn.masks[shown[:, 0], shown[:, 1]])
    own = called[:choosing]
    reference = References(images, taught, draws=2)
    return Setting(network, "sigmoid", images[own[:, 0]], own[:, 1], reference, truth, TOLERANCE)


def some(truth: Truth, numbers: Tensor) -> Truth:
    """Some of the cases."""
    return Truth(truth.images[numbers], truth.classes[numbers], truth.masks[numbers])


def halves(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Two halves of numbers, drawn by a seed."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    return order[: count // 2], order[count // 2 :]


def ultrasound(folder: Path) -> Setting:
    """The lesions of real ultrasound images, whose class is the stated one; half of the normal images lend."""
    rows = list(csv.DictReader((folder / "busi" / "cases.csv").read_text().splitlines()))
    lesions, normal = [row for row in rows if row["mask"]], [row for row in rows if not row["mask"]]
    labels = sorted({row["label"] for row in rows})

    def read(row: Mapping[str, str]) -> Image:
        return TAKEN(pellucid.read_image(folder / "busi" / row["path"]))

    def mask(row: Mapping[str, str]) -> Tensor:
        drawn = Pillow.open(folder / "busi" / row["mask"]).convert("L")
        return in_frame(torch.from_numpy(np.array(drawn) > 0), read(row).geometry)

    def class_of(row: Mapping[str, str]) -> int:
        return labels.index(row["label"])

    lend = normal[: len(normal) // 2]
    images, classes = torch.stack([read(row).values for row in lesions]), [class_of(row) for row in lesions]
    known = torch.tensor([class_of(row) for row in lend])
    reference = References(torch.stack([read(row).values for row in lend]), known, draws=2)
    truth = Truth(images, torch.tensor(classes), torch.stack([mask(row) for row in lesions]))
    return Setting(scanner(folder), "softmax", images, truth.classes, reference, truth, ULTRASOUND_CELL / 2)


def mosaics() -> Setting:
    """Four photographs, two by two, in every order; each object is to be found in its quarter."""
    model = mosaic.network()
    parts = mosaic.photographs(model)
    half, each = mosaic.SIDE, []
    for number, order in enumerate(mosaic.ORDERS):
        index = number % len(mosaic.OBJECTS)
        row, column = divmod(order.index(index), 2)
        mask = torch.zeros(2 * half, 2 * half, dtype=torch.bool)
        mask[row * half : (row + 1) * half, column * half : (column + 1) * half] = True
        each.append((mosaic.mosaic(parts, order)[0], list(mosaic.OBJECTS.values())[index], mask))
    images, classes, masks = zip(*each, strict=True)
    truth = Truth(torch.stack(images), torch.tensor(classes), torch.stack(masks))
    return Setting(model.eval(), "softmax", truth.images, truth.classes, None, truth, 0.0)
