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


@pytest.mark.parametrize(
    ("own", "targets", "image", "asked"),
    [
        (2, [2, 0, 1], 1, 0),
        (2, 1, 0, 1),
        ([0, 1, 3], torch.tensor([0, 1, 2]), 2, 2),
        (torch.tensor([[0, 1]] * 3), torch.tensor([[0, 1], [1, 0], [0, 1]]), 1, 1),
    ],
)
def test_maps_are_judged_by_the_classes_that_they_explain(own, targets, image, asked) -> None:
    found = pellucid.explain(model(), images(), targets=own)
    was = int(found.targets[image, 0])
    text = f"^targets={asked} was asked for of image {image}; the Explanation is of class {was} there: leave targets="
    with pytest.raises(TargetError, match=text) as caught:
        evaluated(explanation=found, targets=targets)
    assert "\n" not in str(caught.value)
    assert evaluated(explanation=found.heatmaps, targets=targets).targets.shape == found.targets.shape
    expected = evaluated(explanation=found)["deletion_auc(steps=2)"]
    assert torch.equal(evaluated(explanation=found, targets=own)["deletion_auc(steps=2)"], expected)
    assert torch.equal(evaluated(explanation=found, targets=found.targets)["deletion_auc(steps=2)"], expected)


def test_the_predicted_class_may_be_another_than_the_explanation_s() -> None:
    predicted = pellucid.explain(model(), images()).targets
    same, other = (pellucid.explain(model(), images(), targets=one) for one in (predicted, (predicted + 1) % 4))
    assert evaluated(explanation=same, targets="predicted").targets.tolist() == predicted.tolist()
    with pytest.raises(TargetError, match="the Explanation is of class"):
        evaluated(explanation=other, targets="predicted")


def test_a_callable_s_class_is_not_known() -> None:
    of_callable = pellucid.explain(model(), images(), targets=lambda out: out[:, 0])
    of_class = pellucid.explain(model(), images(), targets=0)
    for found, targets in ((of_callable, 0), (of_class, lambda out: out[:, 0])):
        assert not evaluated(explanation=found, targets=targets)["deletion_auc(steps=2)"].isnan().any()
    assert pellucid.compare(of_callable, of_class)["ssim"].shape == (3, 1)


def test_explanations_of_different_classes_are_not_compared() -> None:
    first, second = (pellucid.explain(model(), images(), targets=one) for one in ([0, 1, 2], [0, 1, 3]))
    with pytest.raises(
        TargetError, match=r"^Explanations of classes 2 and 3 of image 2 were given; both must"
    ) as caught:
        pellucid.compare(first, second)
    assert "\n" not in str(caught.value)
    alone = pellucid.compare(first.heatmaps, second.heatmaps)
    assert torch.equal(alone["ssim"], pellucid.compare(first, second.heatmaps)["ssim"])
    assert pellucid.compare(first, first).targets.tolist() == [[0], [1], [2]]


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
