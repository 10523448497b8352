"""What is recorded of one image's pass."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pellucid.core.inputs import Inputs
from pellucid.core.runtime import Runtime
from pellucid.errors import SourceError
from pellucid.models.discovery.places import in_network_order
from pellucid.models.discovery.recording import profile_of
from pellucid.models.session.session import Session
from tests.networks import TinyCNN, TinyViT, images, seeded


def looked_into(model: nn.Module, count: int = 2) -> tuple[Session, Inputs]:
    return Session.of(model, Runtime()), Inputs.of(images(count))


def test_a_convolutional_networks_shapes_and_order() -> None:
    session, inputs = looked_into(seeded(TinyCNN))
    profile = profile_of(session, inputs)
    assert (profile.channels, profile.output_shape, profile.first_convolution) == (3, (1, 4), "features.0")
    assert profile.shapes["features.0"] == (1, 8, 16, 16)
    assert profile.shapes["features"] == (1, 12, 8, 8)
    assert list(profile.shapes)[-3:] == ["dropout", "fc", ""]
    assert {len(runs) for runs in profile.runs.values()} == {1}
    assert profile.grids.made == ((16, 16), (8, 8))
    assert profile.counts >= {256, 64}
    assert (profile.attention_calls, profile.branches, profile.has_tokens_first) == ((), frozenset(), False)
    assert in_network_order(session, profile, ["fc", "features", "features.0"]) == ("features.0", "features", "fc")


def test_a_transformers_attention_calls_and_tokens() -> None:
    session, inputs = looked_into(seeded(TinyViT))
    profile = profile_of(session, inputs)
    assert [call.modules for call in profile.attention_calls] == [("", "blocks", f"blocks.{n}") for n in (0, 1)]
    assert [(call.shape, call.fused) for call in profile.attention_calls] == [((1, 3, 17, 17), True)] * 2
    layout = profile.layout("blocks.0", session.modules(["blocks.0"])["blocks.0"])
    assert (layout.kind, layout.grid, layout.prefix) == ("tokens", (4, 4), 1)


def test_a_profile_is_found_once_for_a_shape() -> None:
    session, inputs = looked_into(seeded(TinyCNN))
    assert profile_of(session, inputs) is profile_of(session, Inputs.of(images(3) + 1))
    other = profile_of(session, Inputs.of(images(1, side=16)))
    assert other.shapes["features"] == (1, 12, 4, 4)


@pytest.mark.filterwarnings("ignore:.torch.jit")  # torch's own, that TorchScript is deprecated
def test_torchscript_cannot_be_looked_into() -> None:
    script = torch.jit.trace(seeded(TinyCNN).eval(), images(1))
    with pytest.raises(SourceError, match="its layers cannot be looked into"):
        profile_of(*looked_into(script))
