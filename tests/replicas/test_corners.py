"""Corner cases: batches in which one image or class differs from the others, and extreme options."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import pellucid
from pellucid.core import catalogue
from pellucid.core.space import degenerate, first_component
from pellucid.errors import OptionError
from pellucid.methods import EigenSmooth, GradCAMElementwise, IntegratedGradients, Occlusion, Rollout, ScoreCAM
from tests.networks import TinyCNN, images, seeded
from tests.replicas.naive_cam import first_component as naive_component

REFUSED = [
    ("finercam", {"references": 0}, "references must be at least 1, got 0"),
    ("integrated_gradients", {"steps": 0}, "steps must be at least 1, got 0"),
    ("occlusion", {"window": 0}, "window must be at least 1 pixel, got 0"),
    ("occlusion", {"stride": 0}, "stride must be at least 1 pixel, got 0"),
    ("occlusion", {"window": 4, "stride": 5}, "stride 5 was set; windows of 4 pixels would leave gaps"),
    ("rise", {"masks": 1}, "masks must be at least 2 and cells at least 1, got 1 and 7"),
    ("rise", {"cells": 0}, "masks must be at least 2 and cells at least 1, got 1000 and 0"),
    ("rise", {"keep": 0.0}, "keep must be between 0 and 1, got 0.0"),
    ("rise", {"keep": 1.0}, "keep must be between 0 and 1, got 1.0"),
    ("rollout", {"head_fusion": "sum"}, "head_fusion must be one of mean, max, min, got 'sum'"),
    ("rollout", {"discard_ratio": 1.0}, "discard_ratio must be at least 0 and below 1, got 1.0"),
    ("smoothgrad", {"samples": 0}, "samples must be at least 1, got 0"),
    ("smoothgrad", {"noise": -0.1}, "noise must be at least 0, got -0.1"),
]
ALLOWED = [
    ("finercam", {"references": 1}),
    ("integrated_gradients", {"steps": 1}),
    ("occlusion", {"window": 1, "stride": 1}),
    ("occlusion", {"stride": 5}),
    ("rise", {"masks": 2, "cells": 1}),
    ("rollout", {"discard_ratio": 0.0}),
    ("smoothgrad", {"samples": 1, "noise": 0.0}),
]


@pytest.mark.parametrize(("name", "options", "text"), REFUSED, ids=str)
def test_an_option_outside_its_range_is_refused_in_one_line(name: str, options: dict[str, Any], text: str) -> None:
    with pytest.raises(OptionError) as caught:
        catalogue.find(name)(**options)
    assert str(caught.value) == text


@pytest.mark.parametrize(("name", "options"), ALLOWED, ids=str)
def test_the_ends_of_the_ranges_are_allowed(name: str, options: dict[str, Any]) -> None:
    catalogue.find(name)(**options)


def test_windows_that_would_leave_gaps_are_refused_when_their_size_is_known() -> None:
    with pytest.raises(OptionError, match="stride 6 was set; windows of 4 pixels would leave gaps"):
        pellucid.explain(seeded(TinyCNN), images(1), Occlusion(stride=6))


def test_signs_are_chosen_map_by_map() -> None:
    """Of images and classes whose channels' mean is flat, and of others, in one batch."""
    values = torch.randn(2, 2, 3, 4, 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    values[0, 0] -= values[0, 0].mean(0)
    values[1, 1] -= values[1, 1].mean(0)
    values[1] *= 1e-3
    found = first_component(values)
    for image in range(2):
        for target in range(2):
            expected = torch.as_tensor(naive_component(values[image, target]), dtype=torch.float64)
            torch.testing.assert_close(found[image, target], expected.reshape(4, 5), rtol=1e-9, atol=1e-12)


def test_each_map_is_degenerate_by_its_own_magnitude() -> None:
    slope = torch.linspace(0, 1, 9, dtype=torch.float64).reshape(1, 1, 3, 3)
    maps = torch.cat([1e6 + slope, 1e6 + 20 * slope, 1e-6 * slope], dim=1)
    assert degenerate(maps).tolist() == [[True, False, False]]


def test_the_gap_is_each_classs_own() -> None:
    model, batch = seeded(TinyCNN).double().eval(), images(2).double()
    found = pellucid.explain(model, batch, IntegratedGradients(steps=4), targets="all")
    rise = model(batch) - model(torch.zeros_like(batch))
    missing = rise - found.attributions.double().flatten(2).sum(2)
    torch.testing.assert_close(found.checks["completeness_gap"].double(), missing.detach(), rtol=1e-3, atol=1e-5)
    assert found.checks["completeness_gap"].abs().amin() > 1e-4


def test_a_class_with_a_constant_score_does_not_change_the_others() -> None:
    model, batch = seeded(TinyCNN).eval(), images(1)
    with torch.no_grad():
        model.fc.weight[0] = 0
    found = pellucid.explain(model, batch, ScoreCAM(), targets=torch.tensor([[0, 3]]))
    alone = pellucid.explain(model, batch, ScoreCAM(), targets=3)
    assert found.why_degenerate == (("constant", None),)
    torch.testing.assert_close(found.attributions[:, 1], alone.attributions[:, 0])


def test_a_single_entry_is_discarded() -> None:
    """Of 2 × 2 entries a quarter is one."""
    attention = torch.tensor([[[0.4, 0.6], [0.7, 0.3]]])
    kept = Rollout(discard_ratio=0.25)._discarded(attention)
    torch.testing.assert_close(kept, torch.tensor([[[0.4, 0.6], [0.7, 0.0]]]))


def test_eigen_smoothing_of_a_method_with_weights_of_each_position() -> None:
    class Even(nn.Module):
        """Its scores are the means of the channels, so that the expected map is known."""

        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv2d(1, 3, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x).mean((2, 3))

    model = Even().double().eval()
    image = torch.randn(1, 1, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = pellucid.explain(model, image, EigenSmooth(GradCAMElementwise()), targets=1, layers=["layer"])
    products = torch.zeros(3, 4, 4, dtype=torch.float64)
    products[1] = model.layer(image)[0, 1].detach() / 16
    products = products - products.mean((1, 2), keepdim=True)
    expected = torch.as_tensor(naive_component(products)).reshape(4, 4).relu()
    torch.testing.assert_close(found.attributions[0, 0].double(), expected.double(), rtol=1e-5, atol=1e-7)
