"""With a pretrained network and photographs, both from packages, the map lies on the object."""

from __future__ import annotations

from pathlib import Path

import pytest
import skimage
import torch
from torch import Tensor, nn

import pellucid

ROOT = Path(__file__).parents[1]
PHOTOGRAPHS = Path(skimage.__file__).parent / "data"
CAT = 285
OTHERS = ("coffee.png", "rocket.jpg", "ihc.png")
SIDE = 224


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return pellucid.load_model(f"{ROOT / 'examples' / 'efficientnet_lite0.py'}:build")


def prepared(model: nn.Module, name: str) -> Tensor:
    return pellucid.prepare(model, pellucid.read_image(PHOTOGRAPHS / name)).values


def mosaic(model: nn.Module, cell: int) -> Tensor:
    """The cat in one of four cells, and other objects in the rest."""
    names = list(OTHERS)
    names.insert(cell, "chelsea.png")
    one, two, three, four = (prepared(model, name) for name in names)
    return torch.cat([torch.cat([one, two], dim=2), torch.cat([three, four], dim=2)], dim=1)


def quarters(heat: Tensor) -> Tensor:
    """The four cells of a heatmap, (4, H, W)."""
    return heat.unflatten(0, (2, SIDE)).unflatten(2, (2, SIDE)).transpose(1, 2).flatten(0, 1)


def test_the_cat_is_predicted_and_the_layer_is_found(model: nn.Module) -> None:
    found = pellucid.explain(model, prepared(model, "chelsea.png")[None])
    assert int(found.logits.argmax()) == CAT
    assert found.label(0) == "Egyptian cat"
    assert float(found.probabilities[0, CAT]) > 0.7
    assert found.layers == ("_bn1",)


@pytest.mark.parametrize("cell", range(4))
def test_in_a_mosaic_most_evidence_lies_on_the_cat(model: nn.Module, cell: int) -> None:
    found = pellucid.explain(model, mosaic(model, cell)[None], targets=CAT)
    cells = quarters(found.heatmaps[0, 0])
    assert float(cells[cell].sum() / cells.sum()) >= 0.75
    assert int(cells.flatten(1).amax(1).argmax()) == cell


@pytest.mark.parametrize("cell", range(4))
@pytest.mark.parametrize("method", ["gradcam++", "hirescam"])
def test_in_a_mosaic_the_peak_lies_on_the_cat(model: nn.Module, method: str, cell: int) -> None:
    found = pellucid.explain(model, mosaic(model, cell)[None], method=method, targets=CAT)
    assert int(quarters(found.heatmaps[0, 0]).flatten(1).amax(1).argmax()) == cell
