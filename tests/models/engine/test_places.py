"""Methods get the images where the network is, as they multiply them with what the probe answers."""

from __future__ import annotations

import pytest
import torch

import pellucid
from pellucid.core.runtime import Runtime
from pellucid.models.engine import Session, opened
from pellucid.run import explain as runs
from tests.networks import TinyCNN, images, seeded


def test_images_are_placed_where_the_network_is_in_their_own_precision() -> None:
    batch, count = images(2).double(), torch.tensor([1, 2])
    with opened(seeded(TinyCNN), Runtime()) as session:
        session._like = torch.empty(0, device="meta", dtype=torch.float16)
        placed = session.placed({"x": batch, "count": count})
        assert session.placed(batch).device.type == "meta"
    assert {name: (one.device.type, one.dtype) for name, one in placed.items()} == {
        "x": ("meta", torch.float64),
        "count": ("meta", torch.int64),
    }


def test_a_method_is_given_the_placed_images(monkeypatch: pytest.MonkeyPatch) -> None:
    given = []
    plain = runs._run

    def noting(method, views, targets):
        given.extend(view.batch.images for view in views)
        return plain(method, views, targets)

    there = images(2).clone()
    monkeypatch.setattr(runs, "_run", noting)
    monkeypatch.setattr(Session, "placed", lambda _self, _images: there)
    pellucid.explain(seeded(TinyCNN), images(2), "input_x_gradient", targets=1)
    assert given
    assert all(one is there for one in given)
