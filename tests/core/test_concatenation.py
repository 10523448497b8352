"""Explanations of batches as one, and those that do not fit."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import pellucid
from pellucid.core.explanation import Explanation
from pellucid.errors import OptionError, ShapeError
from pellucid.methods.smoothgrad import SmoothGrad
from tests.core.explanations import ARRAYS
from tests.networks import TinyCNN, images, seeded

LAYERS = ["features.0", "features.2"]


@pytest.fixture
def batch() -> Explanation:
    return pellucid.explain(seeded(TinyCNN), images(4), targets="all", layers=LAYERS)


def test_batches_become_one(batch: Explanation) -> None:
    model = seeded(TinyCNN)
    explainer = pellucid.Explainer(model, layers=LAYERS)
    parts = [explainer(images(4)[rows], targets="all") for rows in (slice(0, 1), slice(1, 4))]
    found = Explanation.cat(parts)
    for name in ARRAYS:
        torch.testing.assert_close(getattr(found, name), getattr(batch, name))
    assert found.provenance == batch.provenance
    other = replace(batch, provenance={**batch.provenance, "fuse": "mean", "runtime": {"seed": 1}})
    kept = Explanation.cat([batch, other]).provenance
    assert "runtime" not in kept
    assert kept["versions"] == batch.provenance["versions"]


def test_explanations_that_do_not_fit(batch: Explanation) -> None:
    model = seeded(TinyCNN)
    tail = "; Explanation.cat takes batches of one Explainer"
    with pytest.raises(OptionError, match="got no explanations; give at least one"):
        Explanation.cat([])
    for other, text in (
        (pellucid.explain(model, images(1), "hirescam", "all", layers=LAYERS), "method were given, gradcam and hire"),
        (pellucid.explain(model, images(1), targets="all", layers=LAYERS[:1]), "different layers were given"),
        (pellucid.explain(model, images(1), targets="all", layers=LAYERS, head="sigmoid"), "softmax and sigmoid"),
        (pellucid.explain(model, images(1), targets="all", layers=LAYERS, fuse="max"), "fuse were given, mean and max"),
        (pellucid.explain(model, images(1), targets="all", layers=LAYERS, classes=list("abcd")), "different classes"),
    ):
        with pytest.raises(OptionError, match=text) as caught:
            Explanation.cat([batch, other])
        assert str(caught.value).endswith(tail)
    options = [pellucid.explain(model, images(1), SmoothGrad(samples=count)) for count in (1, 2)]
    with pytest.raises(OptionError, match="different options"):
        Explanation.cat(options)
    with pytest.raises(ShapeError, match=r"different shapes of heatmaps were given, \(4, 32, 32\) and \(1, 32, 32\)"):
        Explanation.cat([batch, pellucid.explain(model, images(1), layers=LAYERS)])
    with pytest.raises(ShapeError, match="different devices were given, cpu and meta"):
        Explanation.cat([batch, batch.to("meta")])
