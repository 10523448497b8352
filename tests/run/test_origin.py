"""Where maps come from: an explanation's own classes, and what it does not keep."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import pellucid
from pellucid.errors import ShapeError, TargetError
from tests.networks import images
from tests.run.judged import evaluated, model


def test_an_explanation_of_other_images_is_refused() -> None:
    found = pellucid.explain(model(), images())
    with pytest.raises(TargetError, match="targets for 3 images were given; there are 2 images"):
        evaluated(explanation=found, images=images(2))
    with pytest.raises(ShapeError, match=r"maps \(3, 1, 32, 32\) were given; \(3, 1, 64, 64\)"):
        evaluated(explanation=found, images=images(3, side=64))
    of_callable = pellucid.explain(model(), images(), targets=lambda out: out[:, 0])
    with pytest.raises(TargetError, match="callable target, which it does not keep: give targets= again"):
        evaluated(explanation=of_callable)
    assert not evaluated(explanation=of_callable, targets=lambda out: out[:, 0])["deletion_auc(steps=2)"].isnan().any()


def test_an_explanation_and_its_maps_have_the_same_values() -> None:
    found = pellucid.explain(model(), images(), "hirescam", targets=torch.tensor([[0, 1], [2, 0], [3, 1]]))
    one = evaluated(explanation=found, metrics=["average_drop"])
    other = evaluated(explanation=found.heatmaps, targets=found.targets, metrics=["average_drop"])
    assert torch.equal(one["average_drop"], other["average_drop"])
    assert torch.equal(one.targets, found.targets)
    signed = F.interpolate(found.attributions, (32, 32), mode="bilinear", align_corners=False)
    one = evaluated(explanation=found)
    other = evaluated(explanation=signed, targets=found.targets)
    assert torch.equal(one["deletion_auc(steps=2)"], other["deletion_auc(steps=2)"])


def test_the_region_of_an_explanation_is_to_be_given_again() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 1)).eval()
    images = torch.randn(2, 1, 16, 16)
    region = pellucid.Region(1, torch.ones(16, 16) > 0)
    explanation = pellucid.explain(network, images, "saliency", region)
    with pytest.raises(TargetError, match="is of a Region, which it does not keep: give targets= again"):
        pellucid.evaluate(network, images, explanation)
    scores = pellucid.evaluate(network, images, explanation, targets=region)
    assert scores["deletion_auc"].shape == (2, 1)
