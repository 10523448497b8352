"""Several layers as one: their heatmaps combined as by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

import pellucid
from pellucid.run.fusing import fused
from tests.networks import TinyCNN, images, seeded
from tests.run.explaining import EXACT, THREE


@pytest.fixture
def model() -> nn.Module:
    return seeded(TinyCNN).eval()


@pytest.mark.parametrize(
    ("fuse", "by_hand"),
    [
        ("mean", lambda a, b, c: (a + b + c) / 3),
        ("max", lambda a, b, c: torch.maximum(torch.maximum(a, b), c)),
        ("weighted", lambda a, b, c: (0.5 * a + 0.75 * b + c) / 2.25),
    ],
)
def test_fusion(model: nn.Module, fuse: str, by_hand: Callable[..., Tensor]) -> None:
    found = pellucid.explain(model, images(2), "hirescam", "all", layers=THREE, fuse=fuse)
    each = [pellucid.explain(model, images(2), "hirescam", "all", layers=[layer]).heatmaps for layer in THREE]
    torch.testing.assert_close(found.heatmaps, by_hand(*each), **EXACT)
    assert found.provenance["fuse"] == fuse


def test_a_fused_map_is_empty_where_all_layers_are(model: nn.Module) -> None:
    batch = images(2)
    batch[0] = float("nan")
    found = pellucid.explain(model, batch, "hirescam", 0, layers=THREE[:2])
    assert found.degenerate.tolist() == [[True], [False]]
    assert found.why_degenerate == (("not finite",), (None,))
    # The last layer has something to say, the first none: it is cut off but for a gradient of zero.
    model.features[1].register_forward_hook(lambda module, given, output: output * 0 + torch.rand_like(output))
    half = pellucid.explain(model, images(1), "hirescam", 0, layers=[THREE[0], THREE[1]])
    assert [bool(own.degenerate) for own in half.by_layer.values()] == [True, False]
    assert half.degenerate.tolist() == [[False]]
    assert half.why_degenerate == ((None,),)
    torch.testing.assert_close(half.heatmaps, half.by_layer[THREE[1]].heatmaps / 2)


def test_a_fused_map_that_one_layer_shows_has_no_reason_to_be_empty(model: nn.Module) -> None:
    shown = pellucid.explain(model, images(1), "hirescam", 0, layers=THREE[:1])
    empty = replace(
        pellucid.explain(model, images(1), "hirescam", 0, layers=THREE[1:2]),
        degenerate=torch.tensor([[True]]),
        why_degenerate=(("constant",),),
    )
    found = fused("mean", [shown, empty], (32, 32))
    assert (found.layers, found.degenerate.tolist(), found.why_degenerate) == (tuple(THREE[:2]), [[False]], ((None,),))
    both = fused("mean", [replace(shown, degenerate=empty.degenerate), empty], (32, 32))
    assert both.why_degenerate == (("constant",),)
