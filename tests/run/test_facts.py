"""What all batches of a call share: its layers in the network's order, and its provenance."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import pellucid
from tests.networks import TinyCNN, images, seeded
from tests.run.explaining import THREE, same


@pytest.fixture
def model() -> nn.Module:
    return seeded(TinyCNN).eval()


def test_layers_come_in_the_networks_order(model: nn.Module) -> None:
    found = pellucid.explain(model, images(2), targets="all", layers=[THREE[2], THREE[0], THREE[1]])
    assert found.layers == tuple(THREE)
    assert list(found.by_layer) == THREE
    torch.testing.assert_close(found.attributions, found.by_layer[THREE[2]].attributions)
    for layer in THREE:
        own = found.by_layer[layer]
        assert own.layers == (layer,)
        same(own, pellucid.explain(model, images(2), targets="all", layers=[layer]))


def test_one_layers_explanation_is_its_own(model: nn.Module) -> None:
    found = pellucid.explain(model, images(1))
    assert list(found.by_layer) == list(found.layers) == ["features.4"]
    same(found.by_layer["features.4"], found)


def test_provenance_is_plain_and_complete(model: nn.Module) -> None:
    import json

    found = pellucid.explain(model, images(1), runtime=pellucid.Runtime(torch.device("cpu"), batch_size=3, seed=5))
    kept = json.loads(json.dumps(dict(found.provenance)))
    assert kept == found.provenance
    assert kept["runtime"] == {
        "device": "cpu",
        "precision": None,
        "channels_last": False,
        "batch_size": 3,
        "seed": 5,
        "compile": False,
        "keep_memory": False,
    }
    assert kept["agreement_with_float32"] is None
    assert kept["method"] == found.method == "gradcam"
    assert kept["layers"] == ["features.4"]
    assert set(kept["versions"]) == {"pellucid", "torch", "python"}
