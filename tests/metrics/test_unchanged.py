"""What a metric says to be unchanged by leaves its values as they are: every registered metric."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

import pellucid
from pellucid.core.attribution import Attribution
from pellucid.core.method import Method
from pellucid.core.metric import METRICS, Comparison, Metric
from pellucid.core.probe import Probe
from pellucid.core.space import magnitude
from pellucid.core.target import Targets

CHANGES = {
    "scale": lambda maps: maps * 1.5,
    "shift": lambda maps: maps + 0.3,
    "monotone": lambda maps: maps.exp() - 0.9,
}
"""Of maps from 0.05 to 0.6: they stay within [0, 1], where heatmaps are taken as they are."""
KINDS = METRICS.registered()
CLAIMS = [(name, change) for name, kind in sorted(KINDS.items()) for change in sorted(kind().unchanged_by)]


@dataclass(frozen=True)
class Changed(Method):
    """Maps above 0 of the image and of the score's gradient, changed: also where they are made again."""

    change: str = "none"

    uses_layers: ClassVar[bool] = False

    def attribute(self, probe: Probe, targets: Targets) -> Attribution:
        values = 0.3 * probe.inputs.images + 20 * magnitude(probe.input_gradients(targets))
        return Attribution(CHANGES.get(self.change, torch.clone)(0.05 + 0.55 * values.sigmoid()))


def maps(seed: int, side: int) -> Tensor:
    drawn = torch.rand(2, 1, side, side, generator=torch.Generator().manual_seed(seed))
    return 0.05 + 0.55 * drawn


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = (nn.Conv2d(1, 4, 3, stride=4), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU())
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)).eval()


def values(metric: Metric | Comparison, change: str = "none") -> Tensor:
    changed = CHANGES.get(change, torch.clone)
    if isinstance(metric, Comparison):
        scores = pellucid.compare(changed(maps(1, 176)), maps(2, 176), metrics=[metric])
    else:
        given = Changed(change) if metric.takes == "attributions" else changed(maps(1, 48))
        images = torch.randn(2, 1, 48, 48, generator=torch.Generator().manual_seed(3))
        masks = [{"boxes": [(2, 3, 20, 30)]}, {"boxes": [(0, 0, 48, 10)]}]
        scores = pellucid.evaluate(
            network(), images, given, targets=[0, 1], masks=masks, metrics=[metric], method=Changed(change)
        )
    return scores[next(iter(scores))].flatten()


@pytest.mark.parametrize(("name", "change"), CLAIMS)
def test_a_change_that_a_metric_is_unchanged_by(name: str, change: str) -> None:
    expected = values(KINDS[name]())
    assert not expected.isnan().any()
    assert values(KINDS[name](), change).tolist() == pytest.approx(expected.tolist(), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("name", sorted(KINDS))
def test_what_a_metric_says_of_itself(name):
    kind = KINDS[name]
    assert kind.unchanged_by <= set(CHANGES)
    assert kind.better in ("higher", "lower", None)
    assert kind.takes in ("heatmaps", "attributions")
    words = " ".join((kind.__doc__ or "").split()).lower()
    assert "takes" in words
    assert kind.takes in words
    assert any(source in (sys.modules[kind.__module__].__doc__ or "") for source in ("arXiv:", "doi:"))
