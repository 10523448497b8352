"""Every method equals its naive replica, in float64."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn

import pellucid
from pellucid.core import catalogue
from pellucid.core.attribution import Attribution
from pellucid.core.catalogue import method
from pellucid.core.method import Method
from pellucid.methods.eigen_smooth import EigenSmooth
from pellucid.methods.gradcam import GradCAM
from pellucid.methods.rollout import Rollout
from tests.networks import TinyCNN, TinyViT, images, seeded
from tests.replicas.naive import REPLICAS, recorded, rollout_with

LAYER = {TinyCNN: "features.3", TinyViT: "blocks.1.norm1"}


def network(kind: type[nn.Module], rank: int, *more: object) -> nn.Module:
    model = seeded(kind, rank, 4, *more).double().eval()
    model.grid = (4,) * rank  # of a ViT's patches; unused on a CNN
    return model


def cases() -> Iterator[tuple[str, type[nn.Module], int]]:
    for name in pellucid.available_methods():
        for rank in (2, 3):
            if catalogue.find(name).uses_layers:
                yield name, TinyCNN, rank
            yield name, TinyViT, rank


def test_every_method_has_a_replica() -> None:
    assert set(REPLICAS) == set(pellucid.available_methods())


def test_a_method_without_a_replica_is_noticed() -> None:
    @method("unreplicated")
    class Unreplicated(Method):
        def attribute(self, probe, images, targets) -> Attribution:
            raise AssertionError

    with catalogue.forgetting(Unreplicated), pytest.raises(AssertionError):
        test_every_method_has_a_replica()
    test_every_method_has_a_replica()


@pytest.mark.parametrize(("name", "kind", "rank"), list(cases()), ids=str)
def test_equals_its_replica(name: str, kind: type[nn.Module], rank: int) -> None:
    model = network(kind, rank)
    side = 16 if kind is TinyCNN else 32
    batch = images(2, rank, side).double()
    layers = [LAYER[kind]] if catalogue.find(name).uses_layers else None
    explanation = pellucid.explain(model, batch, method=name, targets=[1, 3], layers=layers)
    for image, target, values in zip(batch, (1, 3), explanation.attributions, strict=True):
        expected = REPLICAS[name](model, image, target, LAYER[kind])
        torch.testing.assert_close(values[0], expected.float(), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("prefix", [0, 1, 2, 5])
@pytest.mark.parametrize("fusion", ["mean", "max", "min"])
@pytest.mark.parametrize("discard", [0.0, 0.1, 0.9])
def test_rollout_with_its_options(prefix: int, fusion: str, discard: float) -> None:
    model = seeded(TinyViT, 2, 4, prefix, (32, 16)).double().eval()
    model.grid = (4, 2)
    batch = images(2, side=(32, 16)).double()
    explanation = pellucid.explain(model, batch, method=Rollout(fusion, discard))
    for image, values in zip(batch, explanation.attributions, strict=True):
        torch.testing.assert_close(values[0], rollout_with(model, image, fusion, discard).float(), rtol=1e-5, atol=1e-7)


def test_eigen_smooth_is_the_first_component_of_weight_times_activation() -> None:
    model = network(TinyCNN, 2)
    batch = images(1, side=16).double()
    explanation = pellucid.explain(model, batch, method=EigenSmooth(GradCAM()), targets=2, layers=["features.3"])
    a, g = recorded(model, batch[0], 2, "features.3")
    columns = torch.stack([(g[c].mean() * a[c]).flatten() for c in range(len(a))], dim=1)
    columns = columns - columns.mean(dim=0)
    # Power iteration: another road to the first eigenvector than the package's.
    vector = torch.ones(columns.shape[1], dtype=torch.float64)
    for _ in range(3000):
        vector = columns.T @ (columns @ vector)
        vector = vector / vector.norm()
    projection = columns @ vector
    if torch.corrcoef(torch.stack([projection, columns.mean(dim=1)]))[0, 1] < 0:
        projection = -projection
    expected = projection.clamp(min=0).reshape(a.shape[1:])
    torch.testing.assert_close(explanation.attributions[0, 0], expected.float(), rtol=1e-4, atol=1e-6)


def test_conv_pool_linear_in_closed_form() -> None:
    """Grad-CAM is relu(Σ w_kc A_c) / places; HiResCAM sums to the logit less its bias."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5)).eval()
    batch = images(2, side=9)
    with torch.no_grad():
        maps = model[0](batch)
        logits = model(batch)
    cam = torch.einsum("kc,bchw->bkhw", model[3].weight.detach(), maps) / maps[0, 0].numel()
    found = pellucid.explain(model, batch, targets="all")
    assert found.layers == ("0",)
    torch.testing.assert_close(found.attributions, cam.relu())
    torch.testing.assert_close(found.logits, logits)
    signed = pellucid.explain(model, batch, method="hirescam", targets="all").attributions
    torch.testing.assert_close(signed, cam)
    torch.testing.assert_close(signed.sum(dim=(2, 3)), logits - model[3].bias.detach())
