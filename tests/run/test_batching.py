"""Batches of any size: a few images and classes at a time give what all at once give."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import pellucid
from pellucid.run import batching as module
from tests.networks import TinyCNN, TinyViT, images, seeded
from tests.run.explaining import EXACT, THREE, same


@pytest.fixture
def model() -> nn.Module:
    return seeded(TinyCNN).eval()


@pytest.mark.parametrize("size", [1, 2, 4])
@pytest.mark.parametrize("targets", ["all", [3, 0, 1, 2, 2], torch.tensor([[0, 3]] * 5), "predicted"])
def test_batches_give_what_one_batch_gives(model: nn.Module, size: int, targets: object) -> None:
    whole = pellucid.explain(model, images(5), targets=targets, layers=THREE[:2])
    parts = pellucid.explain(
        model, images(5), targets=targets, layers=THREE[:2], runtime=pellucid.Runtime(batch_size=size)
    )
    same(whole, parts)
    for layer in THREE[:2]:
        same(whole.by_layer[layer], parts.by_layer[layer])


@pytest.mark.parametrize("kind", [TinyCNN, TinyViT])
def test_more_classes_than_fit_a_run(kind: type[nn.Module], monkeypatch: pytest.MonkeyPatch) -> None:
    model = seeded(kind, 2, 11).eval()
    layer = pellucid.recommended_layers(model, (32, 32))
    passes = []
    model.register_forward_hook(lambda *parts: passes.append(1))
    whole = pellucid.explain(model, images(2), "hirescam", "all", layers=layer)
    assert whole.heatmaps.shape[1] == 11
    for maps in (1, 3):
        monkeypatch.setattr(module, "_MAPS_AN_IMAGE", maps)
        before = len(passes)
        parts = pellucid.explain(
            model, images(2), "hirescam", "all", layers=layer, runtime=pellucid.Runtime(batch_size=2)
        )
        assert len(passes) == before + 1  # one pass, however many runs
        same(whole, parts)
    one_by_one = [pellucid.explain(model, images(2), "hirescam", index, layers=layer) for index in range(11)]
    torch.testing.assert_close(whole.heatmaps, torch.cat([one.heatmaps for one in one_by_one], 1), **EXACT)
    called = pellucid.explain(
        model, images(2), "hirescam", lambda z: z, layers=layer, runtime=pellucid.Runtime(batch_size=2)
    )
    torch.testing.assert_close(called.attributions, whole.attributions, **EXACT)


def test_a_method_that_knows_no_classes_gives_each_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAPS_AN_IMAGE", 1)
    model = seeded(TinyViT)
    found = pellucid.explain(model, images(2), "rollout", "all", runtime=pellucid.Runtime(batch_size=1))
    assert found.heatmaps.shape == (2, 4, 32, 32)
    assert found.layers == ()
    assert found.by_layer == {}
    assert torch.equal(found.heatmaps, found.heatmaps[:, :1].expand(-1, 4, -1, -1))
    assert found.degenerate.shape == (2, 4)
    assert [len(row) for row in found.why_degenerate] == [4, 4]


class Readings(TorchDispatchMode):
    """Counts how often a value is read from a tensor: each time, the CPU waits for a GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("layers", [["features.4"], ["features.1", "features.4"]])
@pytest.mark.parametrize("shows_nothing", [False, True])
def test_a_gpu_is_waited_for_as_often_for_many_maps_as_for_one(shows_nothing: bool, layers: list[str]) -> None:
    model = seeded(TinyCNN).eval()
    with torch.no_grad():
        model.fc.weight.abs_().mul_(-1 if shows_nothing else 1)
    counts = []
    for count, targets in ((1, 0), (6, "all")):
        pellucid.explain(model, images(count), "gradcam", targets, layers=layers)  # what is found of it is found
        with Readings() as readings:
            found = pellucid.explain(model, images(count), "gradcam", targets, layers=layers)
        assert found.by_layer.get("features.4", found).degenerate.any() == shows_nothing
        counts.append(readings.count)
    assert counts[0] == counts[1] <= 12
