"""Maps that show nothing: sums over the channels that cancel out."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import pellucid
from pellucid.core.attribution import Attribution
from tests.networks import seeded


class Normed(nn.Module):
    """Tokens whose layer norm is all that the scores are read from."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.norm, self.fc = nn.Conv2d(3, 32, 4, 4), nn.LayerNorm(32), nn.Linear(32, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.tanh(self.norm(self.patch(x).flatten(2).transpose(1, 2))).mean(1))


def test_what_rounding_leaves_before_a_layer_norm_shows_nothing() -> None:
    model, images = seeded(Normed).eval(), 30 * torch.rand(2, 3, 16, 16)  # far above the epsilon of the norm
    found = pellucid.explain(model, images, "hirescam", "all", layers=["patch"])
    assert found.degenerate.all()
    assert set(sum(found.why_degenerate, ())) == {"evidence cancels out"}
    assert not found.attributions.any()
    for method, layer in (("hirescam", "norm"), ("gradcam", "patch"), ("layercam", "patch")):
        assert not pellucid.explain(model, images, method, "all", layers=[layer]).degenerate.all(), method


@pytest.mark.parametrize(("left", "cancels"), [(0.0, True), (1e-7, True), (1e-3, False)])
def test_only_sums_near_zero_cancel(left: float, cancels: bool) -> None:
    weights = torch.tensor([1.0, -1.0 + left]).reshape(1, 1, 2, 1, 1).expand(1, 1, 2, 3, 3)
    activations = torch.ones(1, 1, 2, 3, 3)
    activations[..., 0, 0] = 2
    values = (weights * activations).sum(2)
    found = Attribution(values, weights, activations).without_rounding()
    assert bool(found.values.any()) is not cancels
    assert (found.why_degenerate() == (("evidence cancels out",),)) is cancels


def test_zero_weights_and_maps_without_weights_are_constant() -> None:
    values = torch.zeros(1, 1, 3, 3)
    nothing = Attribution(values, torch.zeros(1, 1, 2, 1, 1), torch.ones(1, 1, 2, 3, 3)).without_rounding()
    assert nothing.why_degenerate() == Attribution(values).without_rounding().why_degenerate() == (("constant",),)
