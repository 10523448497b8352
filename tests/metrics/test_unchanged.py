"""What a metric says to be unchanged by leaves its values as they are: every registered metric."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from torch import nn

import pellucid
from pellucid.core.attribution import Attribution
from pellucid.core.method import Method
from pellucid.core.metric import METRICS, Comparison, Metric
from pellucid.core.probe import Probe
from pellucid.core.target import Targets

CHANGES = {
    "none": lambda maps: maps,
    "scale": lambda maps: maps * 1.5,
    "shift": lambda maps: maps + 0.3,
    "monotone": lambda maps: maps.exp() - 0.9,
}
"""Of maps from 0.05 to 0.6: they stay within [0, 1], where heatmaps are taken as they are."""
SPACE = (176, 176)
KINDS = METRICS.registered()


def maps(seed: int) -> torch.Tensor:
    drawn = torch.rand(2, 1, *SPACE, generator=torch.Generator().manual_seed(seed))
    return 0.05 + 0.55 * drawn


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = (nn.Conv2d(1, 4, 3, stride=4), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU())
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)).eval()


def values(metric: Metric | Comparison, change: str) -> torch.Tensor:
    if isinstance(metric, Comparison):
        scores = pellucid.compare(CHANGES[change](maps(1)), maps(2), metrics=[metric])
        return scores[next(iter(scores))]
    images = torch.randn(2, 1, *SPACE, generator=torch.Generator().manual_seed(3))
    masks = [{"boxes": [(20, 30, 90, 100)]}, {"boxes": [(0, 0, 176, 40)]}]
    settings = {"targets": [0, 1], "masks": masks, "metrics": [metric], "method": Made(change)}
    scores = pellucid.evaluate(network(), images, CHANGES[change](maps(1)), **settings)
    return scores[next(iter(scores))]


@dataclass(frozen=True)
class Made(Method):
    """Maps of any image by the network, from 0.05 to 0.6, that are changed as those that are judged are."""

    change: str = "none"

    uses_layers: ClassVar[bool] = False

    def attribute(self, probe: Probe, targets: Targets) -> Attribution:
        slopes = probe.input_gradients(targets).sum(2)
        return Attribution(CHANGES[self.change](0.05 + 0.55 * (40 * slopes).sigmoid()))


@pytest.mark.parametrize(
    ("name", "change"), [(name, change) for name, kind in sorted(KINDS.items()) for change in sorted(kind.unchanged_by)]
)
def test_a_change_that_a_metric_is_unchanged_by(name, change):
    metric = KINDS[name]()
    expected = values(metric, "none")
    assert not expected.isnan().any()
    found = values(metric, change)
    assert found.flatten().tolist() == pytest.approx(expected.flatten().tolist(), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("name", sorted(KINDS))
def test_what_a_metric_says_of_itself(name):
    kind = KINDS[name]
    assert kind.unchanged_by < set(CHANGES)
    assert kind.better in ("higher", "lower", None)
    assert kind.takes in ("heatmaps", "attributions")
    words = " ".join((kind.__doc__ or "").split()).lower()
    assert "takes" in words
    assert kind.takes in words
    assert any(source in (sys.modules[kind.__module__].__doc__ or "") for source in ("arXiv:", "doi:"))
