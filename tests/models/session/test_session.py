"""A session: where its inputs are, and its modules by name."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

import pellucid
from pellucid.core.inputs import Inputs
from pellucid.core.runtime import Runtime
from pellucid.errors import LayerError
from pellucid.methods.input_x_gradient import InputXGradient
from pellucid.models.session.session import Session, unwrapped
from tests.networks import TinyCNN, images, seeded


def test_inputs_come_to_the_networks_device_in_their_own_precision() -> None:
    batch, count = images(2).double(), torch.tensor([1, 2])
    session = Session.of(seeded(TinyCNN).to("meta"), Runtime())
    moved = session.on_device(Inputs({"x": batch, "count": count})).tensors
    assert {name: (one.device.type, one.dtype) for name, one in moved.items()} == {
        "x": ("meta", torch.float64),
        "count": ("meta", torch.int64),
    }


def test_a_method_is_given_the_images_on_the_networks_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Methods multiply them with what the probe returns."""
    given = []
    plain = InputXGradient.attribute

    def noting(self, probe, targets):
        given.append(probe.inputs)
        return plain(self, probe, targets)

    there = Inputs.of(images(2).clone())
    monkeypatch.setattr(InputXGradient, "attribute", noting)
    monkeypatch.setattr(Session, "on_device", lambda _self, _inputs: there)
    pellucid.explain(seeded(TinyCNN), images(2), "input_x_gradient", targets=1)
    assert given
    assert all(one is there for one in given)


def test_unknown_layers_have_near_names() -> None:
    session = Session.of(seeded(TinyCNN), Runtime())
    with pytest.raises(LayerError, match="did you mean features"):
        session.modules(["feature"])


@pytest.mark.parametrize(
    "wrap",
    [nn.DataParallel, lambda m: torch.compile(m, backend="eager"), lambda m: nn.DataParallel(torch.compile(m))],
    ids=["DataParallel", "compile", "both"],
)
def test_wrappers_are_unwrapped_and_names_with_their_prefix_are_known(wrap) -> None:
    model = seeded(TinyCNN)
    assert unwrapped(wrap(model)) is model
    prefix = "module." if isinstance(wrap(model), nn.DataParallel) else "_orig_mod."
    found = pellucid.explain(wrap(model), images(1), layers=[prefix + "features.3"])
    torch.testing.assert_close(found.heatmaps, pellucid.explain(model, images(1), layers=["features.3"]).heatmaps)


def test_an_unknown_layer_names_those_that_look_like_it() -> None:
    with pytest.raises(LayerError, match=r"'featurs\.3' was asked for.*did you mean.*features\.3"):
        pellucid.explain(seeded(TinyCNN), images(1), layers=["featurs.3"])


def test_a_part_that_was_exchanged_is_looked_at_anew() -> None:
    def deep() -> nn.Module:
        return nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 4, 3, 2, 1), nn.ReLU())

    model = nn.Sequential(deep(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    assert pellucid.explain(model, images(1)).layers == ("0.3",)
    model[0] = deep()[:2]
    assert pellucid.explain(model, images(1)).layers == ("0.1",)
    model[0] = deep()
    assert pellucid.explain(model, images(1)).layers == ("0.3",)


def test_a_setting_that_is_changed_is_noticed() -> None:
    """A timm transformer that is told afterwards to classify by another token."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = timm.create_model("vit_tiny_patch16_224", img_size=64, depth=2, num_classes=3, fc_norm=False)
    assert pellucid.explain(model, images(1, side=64)).layers != ("norm",)
    model.global_pool = "avg"
    assert pellucid.explain(model, images(1, side=64)).layers == ("norm",)
