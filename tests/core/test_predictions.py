"""What the model predicts for the images of an explanation."""

from __future__ import annotations

import pytest
import torch

import pellucid
from pellucid.core.explanation import Explanation
from tests.core.explanations import two_images
from tests.networks import TinyCNN, images, seeded


@pytest.fixture
def explanation() -> Explanation:
    return two_images()


def test_labels(explanation: Explanation) -> None:
    assert [explanation.label(0, k) for k in (0, 1)] == ["a", "ü"]
    assert explanation.class_name(1) == "b"
    plain = pellucid.explain(seeded(TinyCNN), images(1), targets=2)
    assert (plain.label(0), plain.class_name(1)) == ("2", "1")
    assert pellucid.explain(seeded(TinyCNN), images(1), targets=lambda z: z[:, 0]).label(0) == "callable"


def test_probabilities_follow_the_head() -> None:
    model, batch = seeded(TinyCNN), images(2)
    soft = pellucid.explain(model, batch)
    assert torch.equal(soft.probabilities, soft.logits.softmax(1))
    assert torch.equal(pellucid.explain(model, batch, head="sigmoid").probabilities, soft.logits.sigmoid())
