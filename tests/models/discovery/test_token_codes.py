"""Which token follows which cell is measured, whatever their order."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import pellucid
from pellucid.core.inputs import Inputs
from pellucid.core.runtime import Runtime
from pellucid.models.discovery.recording import profile_of
from pellucid.models.discovery.token_codes import changed, is_followed, patterns
from pellucid.models.discovery.tokens import Layout
from pellucid.models.session.session import Session
from tests.networks import Reordered, images, seeded

SIDE = 8
SHUFFLED = torch.randperm(SIDE**2, generator=torch.Generator().manual_seed(3))
EMBEDDINGS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "shuffled": lambda patches, extra: torch.cat([extra, patches[:, SHUFFLED]], dim=1),
    "backwards": lambda patches, extra: torch.cat([extra, patches.flip(1)], dim=1),
    "every second row mirrored": lambda patches, extra: torch.cat([extra, snake(patches)], dim=1),
    "windows of 4": lambda patches, extra: torch.cat([extra, windows(patches)], dim=1),
    "a class token in the middle": lambda patches, extra: torch.cat([patches[:, :32], extra, patches[:, 32:]], dim=1),
    "in the middle and shuffled": lambda patches, extra: torch.cat(
        [patches[:, SHUFFLED[:9]], extra, patches[:, SHUFFLED[9:]]], dim=1
    ),
}


def snake(patches: Tensor) -> Tensor:
    rows = patches.unflatten(1, (SIDE, SIDE)).clone()
    rows[:, 1::2] = rows[:, 1::2].flip(2)
    return rows.flatten(1, 2)


def windows(patches: Tensor) -> Tensor:
    """The tokens of windows of 4 × 4, one window after the other."""
    return patches.unflatten(1, (2, 4, 2, 4)).transpose(2, 3).flatten(1, 4)


@pytest.mark.parametrize("name", EMBEDDINGS)
def test_maps_are_those_of_the_network_without_the_other_order(name: str) -> None:
    """With positions that are reordered alike, the score is the same, and so must be each cell of the map."""
    plain = seeded(Reordered).eval()
    other = seeded(Reordered, EMBEDDINGS[name]).eval()
    with torch.no_grad():  # the embedding puts the positions where it puts their patches
        positions = plain.position
        other.position.copy_(EMBEDDINGS[name](positions[:, 1:], positions[:, :1]))
    batch = images(2, side=64)
    torch.testing.assert_close(other(batch), plain(batch))
    for method in ("hirescam", "gradcam", "rollout", "gradient_rollout"):
        expected = pellucid.explain(plain, batch, method, targets=[0, 1])
        found = pellucid.explain(other, batch, method, targets=[0, 1])
        assert found.layers == expected.layers
        torch.testing.assert_close(found.attributions, expected.attributions, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", EMBEDDINGS)
def test_values_go_back_to_their_tokens(name: str) -> None:
    model = seeded(Reordered, EMBEDDINGS[name]).eval()
    session, inputs = Session.of(model, Runtime()), Inputs.of(images(1, side=64))
    layout = profile_of(session, inputs).layout("norm", model.norm)
    assert layout is not None
    output = torch.randn(2, 65, 5)
    cells = layout.spatial(output)
    assert cells.shape == (2, 5, SIDE, SIDE)
    torch.testing.assert_close(layout.restored(cells, output), output)
    assert layout.restored(cells + 1, output).sum() == pytest.approx(float(output.sum()) + 2 * 5 * SIDE**2, abs=1e-3)


def test_tokens_that_are_put_back_into_order() -> None:
    """Their order is measured where it is first seen, and does not hold later."""

    def back(tokens: Tensor) -> Tensor:
        return torch.cat([tokens[:, :1], tokens[:, 1:][:, SHUFFLED.argsort()]], dim=1)

    model = seeded(Reordered, EMBEDDINGS["shuffled"], back).eval()
    session, inputs = Session.of(model, Runtime()), Inputs.of(images(1, side=64))
    profile = profile_of(session, inputs)
    assert profile.layout("blocks.0", model.blocks[0]).tokens == tuple(1 + SHUFFLED.argsort()[n] for n in range(64))
    assert profile.layout("norm", model.norm).tokens == tuple(range(1, 65))


def test_an_ordinary_network_needs_no_codes() -> None:
    calls = []
    model = seeded(Reordered).eval()
    model.patch.register_forward_hook(lambda _module, _inputs, output: calls.append(len(output)))
    profile = profile_of(Session.of(model, Runtime()), Inputs.of(images(1, side=64)))
    assert profile.grids.known == {}
    assert sum(calls) == 8 + 6, "one for the profile, one other, four for the corners, two patterns; and the impulses"


def test_patterns_change_their_cells_alone() -> None:
    layout = Layout("tokens", (2, 4))
    cells = patterns(layout)
    assert cells.sum(dim=1).tolist() == [4, 4]
    noise = images(1, side=(8, 16))
    found = changed(noise, cells, layout)
    moved = (found != noise).all(dim=1)
    assert torch.equal(moved[:, ::4, ::4].flatten(1), cells)
    assert torch.equal(moved, (found != noise).any(dim=1))


def test_who_follows() -> None:
    cells = torch.tensor([[True, False, True, False], [True, True, False, False]])
    before = torch.zeros(5, 1)
    after = torch.cat([torch.tensor([[0.0], [0.0]]), cells.float()], dim=1)[..., None]
    assert is_followed(before, after, cells, [1, 2, 3, 4])
    assert not is_followed(before, after, cells, [2, 1, 3, 4])
    assert not is_followed(before, torch.ones_like(after), cells, [1, 2, 3, 4]), "all change alike"
