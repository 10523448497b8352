"""The description of what is explained during a training."""

from __future__ import annotations

import pytest
import torch

from pellucid.errors import LayerError, OptionError, PellucidWarning
from pellucid.metrics import SSIM, Spearman, TopKOverlap
from pellucid.training import MonitoringPlan
from tests.networks import TinyCNN, images, seeded


def test_the_first_epoch_is_due_and_then_every_nth_as_checkpoints_count() -> None:
    plan = MonitoringPlan(images(2), [0, 1], every=3)
    assert [epoch for epoch in range(9) if plan.is_due(epoch, first=epoch == 0)] == [0, 2, 5, 8]
    assert not plan.is_due(3, first=False)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every": 0}, "every must be a whole number of at least 1, got 0"),
        ({"every": 1.5}, "every must be a whole number of at least 1, got 1.5"),
        ({"every": True}, "every must be a whole number of at least 1, got True"),
        ({"drawn": -1}, "drawn must be a whole number of at least 0, got -1"),
        ({"drift": "l2"}, "drift='l2' was given; a comparison that is 1 for equal maps is needed: .*pearson.*ssim"),
        ({"drift": "iou"}, "drift='iou' was given; a comparison that is 1"),
        ({"drift": "sim"}, "sim"),
    ],
)
def test_what_is_not_possible_is_refused_at_once(options, message: str) -> None:
    with pytest.raises(OptionError, match=message) as raised:
        MonitoringPlan(images(2), [0, 1], **options)
    assert "\n" not in str(raised.value)


def test_a_comparison_may_be_given_with_its_options() -> None:
    assert MonitoringPlan(images(1), [0]).similarity == SSIM()
    assert MonitoringPlan(images(1), [0], drift="spearman").similarity == Spearman()
    assert MonitoringPlan(images(1), [0], drift=TopKOverlap(0.1)).similarity == TopKOverlap(0.1)


def test_the_digest_tells_batches_targets_methods_and_comparisons_apart() -> None:
    same = [MonitoringPlan(images(2), [0, 1], every=every).digest() for every in (1, 2)]
    others = [
        MonitoringPlan(images(2) + 1, [0, 1]),
        MonitoringPlan(images(2), [1, 1]),
        MonitoringPlan(images(2), torch.tensor([1, 0])),
        MonitoringPlan(images(2), [0, 1], method="saliency"),
        MonitoringPlan(images(2), [0, 1], drift="spearman"),
        MonitoringPlan(images(2), [0, 1], layers=["features.0"]),
        MonitoringPlan({"x": images(2) + 2}, [0, 1]),
    ]
    assert same[0] == same[1]
    assert (
        MonitoringPlan(images(2), lambda z: z[:, 0]).digest() == MonitoringPlan(images(2), lambda z: z[:, 0]).digest()
    )
    assert len({same[0], *(one.digest() for one in others)}) == 8


def test_the_explainer_is_at_the_settled_layers_or_else_at_the_named_ones() -> None:
    model = seeded(TinyCNN)
    named = MonitoringPlan(images(1), [0], layers=["features.0"])
    assert named.explainer(model).layers == ["features.0"]
    assert named.explainer(model, ("features.4",), "sum").layers == ("features.4",)
    assert named.explainer(model, ("features.4",), "sum").fuse == "sum"
    found = MonitoringPlan(images(1), [0]).explainer(model, ("features.0", "features.4"), "sum")
    assert (found.layers, found.fuse) == (("features.0", "features.4"), "sum")
    found(images(1))  # no caller named them: nothing more is asked or said of them
    both = MonitoringPlan(images(1), [0], layers=["features.0", "features.4"]).explainer(model, fuse="sum")
    with pytest.warns(PellucidWarning, match="the same evidence counts twice"):
        both(images(1))
    with pytest.raises(LayerError):
        MonitoringPlan(images(1), [0], layers=["nowhere"]).explainer(model)(images(1))
