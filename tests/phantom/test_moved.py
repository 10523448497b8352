"""Phantoms that the network itself crops, pads, mirrors or rolls: the peak is in the finding as often as without."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import pellucid
from pellucid import phantom
from pellucid.metrics.pointing import pointing_hits
from pellucid.phantom import models as phantom_models

CASES = 24
HALF_A_CELL = phantom_models.CELL / 2
LEAST = {"cnn": 0.8, "unguided_cnn": 0.3, "vit": 0.8}
"""The share of cases that each network hits at least where nothing is changed within it."""
NAMED = {("vit", "crop"): "network.blocks.2.norm1"}
"""Where another layer is found behind the change: how much of the score passes through one is measured on generated
images, of which a network that crops sees a part. Other layers hit in other cases, so that it is named in both."""
Change = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Kind:
    """How phantoms are given, and what the network makes of them: what it sees is in both cases the same."""

    given: Change
    inside: Change


def noise_around(x: Tensor) -> Tensor:
    """Every image (or mask, with nothing around) in the middle of a larger one."""
    around = torch.rand(*x.shape[:-2], 192, 224) if x.is_floating_point() else torch.zeros(*x.shape[:-2], 192, 224) > 0
    around[..., 32:160, 64:192] = x
    return around


def inner(x: Tensor) -> Tensor:
    return x[..., 16:112, 8:120]


KINDS = {
    "crop": Kind(noise_around, lambda x: x[..., 32:160, 64:192]),
    "pad": Kind(inner, lambda x: F.pad(x, (8, 8, 16, 16))),
    "mirror": Kind(lambda x: x.flip(-1), lambda x: x.flip(-1)),
    "roll": Kind(lambda x: x.roll((30, -50), (-2, -1)), lambda x: x.roll((-30, 50), (-2, -1))),
    "crop, mirror": Kind(lambda x: noise_around(x.flip(-2)), lambda x: x[..., 32:160, 64:192].flip(-2)),
}


class Changing(nn.Module):
    def __init__(self, network: nn.Module, inside: Change) -> None:
        super().__init__()
        self.network, self.inside = network, inside

    def forward(self, x: Tensor) -> Tensor:
        return self.network(self.inside(x))


@pytest.fixture(scope="module")
def seen() -> phantom.Phantoms:
    return phantom.radiographs(CASES, findings=("nodule",), seed=70_000_000)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("network", LEAST)
def test_the_peak_is_in_the_finding_in_the_same_cases_as_without(
    network: str, name: str, seen: phantom.Phantoms
) -> None:
    kind, model = KINDS[name], getattr(phantom, network)()
    index = phantom.FINDINGS.index("nodule")
    images = pellucid.model_info(model).preprocessing.normalise(seen.images)
    masks = seen.masks[:, index]
    is_inside = ~(kind.given(masks).flatten(1).sum(1) < masks.flatten(1).sum(1))  # a finding may be cut off
    shown, wanted = kind.given(images[is_inside]), kind.given(masks[is_inside])
    layer = NAMED.get((network, name))
    own, within = (None, None) if layer is None else ([layer], [f"network.{layer}"])
    expected = pellucid.explain(model, kind.inside(shown), "layercam", index, layers=own)
    found = pellucid.explain(Changing(model, kind.inside).eval(), shown, "layercam", index, layers=within)
    assert found.layers == tuple(f"network.{one}" for one in expected.layers)
    there = pointing_hits(expected.heatmaps[:, 0], kind.inside(wanted), HALF_A_CELL)
    here = pointing_hits(found.heatmaps[:, 0], wanted, HALF_A_CELL)
    assert len(here) > CASES // 2
    assert there.double().mean() >= LEAST[network]
    assert here.sum() >= there.sum()
    assert not (there & ~here).any()
    if name != "pad":  # without, a peak may be in what was padded, which is no part of the image that is given here
        assert not (here & ~there).any()
