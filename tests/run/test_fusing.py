"""Several layers as one: their heatmaps combined as by hand."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

import pellucid
from pellucid.errors import PellucidWarning
from pellucid.run import cautions
from pellucid.run.fusing import fused
from tests.models.discovery.test_choice import Folds, LocalAndGlobal
from tests.networks import TinyCNN, TinyViT, images, seeded
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


def chain() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 6, 4, 4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3)
    ).eval()


class Residual(nn.Module):
    """A block beside which its input goes on."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.block, self.fc = nn.Conv2d(3, 6, 4, 4), nn.Conv2d(6, 6, 3, padding=1), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.stem(x)
        return self.fc((maps + self.block(maps)).mean((2, 3)))


@pytest.mark.parametrize(
    ("build", "layers", "first", "second"),
    [
        (chain, ["0", "1"], "0", "1"),
        (chain, ["1", "0"], "0", "1"),
        (TinyCNN, ["features.4", "features.0"], "features.0", "features.4"),
        (TinyViT, ["blocks.0", "blocks.1.norm1"], "blocks.0", "blocks.1.norm1"),
        (Residual, ["block", "stem"], "stem", "block"),
        (Folds, ["folds.0.1", "folds.1.0", "folds.1.1"], "folds.1.0", "folds.1.1"),
    ],
)
def test_layers_of_which_one_depends_on_the_other_are_not_added_silently(
    build: Callable[[], nn.Module], layers: list[str], first: str, second: str
) -> None:
    network = seeded(build).eval()
    text = f"^layers '{first}' and '{second}' are added, and '{second}' depends on '{first}', so that the same evidence"
    for _ in range(2):  # also where it is known from before
        with pytest.warns(PellucidWarning, match=text) as caught:
            pellucid.explain(network, images(1), "hirescam", 0, layers=layers, fuse="sum", head="softmax")
        (message,) = [str(one.message) for one in caught if "counts twice" in str(one.message)]
        assert message.endswith("counts twice: give one of them, or fuse='mean'")
        assert "\n" not in message
    pellucid.explain(network, images(1), "hirescam", 0, layers=layers, fuse="mean", head="softmax")


def test_the_same_evidence_counts_exactly_twice() -> None:
    network, batch = seeded(chain), images(2)
    with pytest.warns(PellucidWarning, match="counts twice"):
        found = pellucid.explain(network, batch, "hirescam", 1, layers=["0", "1"], fuse="sum", head="softmax")
    one = found.by_layer["1"].attributions
    assert torch.equal(found.by_layer["0"].attributions, one)
    again = nn.functional.interpolate(one, (32, 32), mode="bilinear", align_corners=False)
    torch.testing.assert_close(found.attributions, 2 * again)


@pytest.mark.parametrize(
    ("build", "layers"),
    [
        (Folds, [f"folds.{index}.1" for index in range(5)]),
        (Folds, ["folds.0.0", "folds.3.1"]),
        (LocalAndGlobal, ["whole.0", "middle.1"]),
        (TinyCNN, ["features.4"]),
    ],
)
def test_branches_beside_one_another_are_added(build: type[nn.Module], layers: list[str]) -> None:
    network = seeded(build).eval()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pellucid.explain(network, images(1), "hirescam", 0, layers=layers, fuse="sum")
    assert not [one for one in caught if "counts twice" in str(one.message)]


def test_what_depends_on_what_is_asked_where_layers_are_named_and_added(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, ...]] = []
    monkeypatch.setattr(cautions, "dependent", lambda _session, _image, places: asked.append(tuple(places)))
    network, batch = seeded(Folds).eval(), images(1)
    assert len(pellucid.explain(network, batch, "hirescam", 0).layers) == 5
    names = ["folds.0.0", "folds.0.1"]
    for options in ({"layers": names}, {"layers": names[:1], "fuse": "sum"}, {"fuse": "sum"}):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pellucid.explain(network, batch, "hirescam", 0, **options)
    assert asked == []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pellucid.explain(network, batch, "hirescam", 0, layers=names, fuse="sum")
    assert asked == [tuple(names)]
