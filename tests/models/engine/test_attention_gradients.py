"""Networks with gradient checkpoints of their own, or that write into what their gradients need."""

from __future__ import annotations

import math

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

import pellucid
from pellucid.core.inputs import Inputs
from pellucid.core.runtime import Runtime
from pellucid.errors import GradientError
from pellucid.models.discovery.recording import profile_of
from pellucid.models.engine import attention_gradients
from pellucid.models.session.session import Session
from tests.networks import Block, TinyViT, images, seeded

OF_GRADIENTS = ["gradient_rollout", "legrad", "attnlrp", "gradcam", "saliency", "guided_backprop", "fullgrad"]


class Steps(Block):
    """The same block, its attention in steps."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.split(self.norm1(x))
        weights = (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1)
        x = x + self.proj((weights @ v).transpose(1, 2).flatten(2))
        return x + self.mlp(self.norm2(x))


class Checkpointed(nn.Module):
    def __init__(self, block: nn.Module, reentrant: bool) -> None:
        super().__init__()
        self.inner, self.reentrant = block, reentrant

    def forward(self, x: Tensor) -> Tensor:
        return checkpoint(self.inner, x, use_reentrant=self.reentrant)


def network(kind: type[nn.Module], reentrant: bool | None = None) -> nn.Module:
    model = seeded(TinyViT)
    for block in model.blocks:
        block.__class__ = kind
    if reentrant is not None:
        model.blocks = nn.Sequential(*(Checkpointed(block, reentrant) for block in model.blocks))
    return model


@pytest.mark.parametrize("kind", [Block, Steps])
@pytest.mark.parametrize("method", OF_GRADIENTS)
def test_checkpoints_change_nothing(method: str, kind: type[nn.Module]) -> None:
    layers = {"layers": ["blocks.1"]} if method == "gradcam" else {}
    plain, stored = network(kind), network(kind, reentrant=False)
    one, other = (
        pellucid.explain(model, images(2), method=method, targets=torch.tensor([[0, 1], [2, 3]]), **layers)
        for model in (plain, stored)
    )
    torch.testing.assert_close(one.attributions, other.attributions)


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")  # torch's own
@pytest.mark.parametrize("method", ["gradient_rollout", "legrad", "attnlrp", "saliency"])
def test_reentrant_ones_are_refused_with_the_remedy(method: str) -> None:
    with pytest.raises(GradientError, match="checkpoint"):
        pellucid.explain(network(Block, reentrant=True), images(1), method=method)


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
@pytest.mark.parametrize("method", ["rollout", "attention"])
def test_what_needs_no_gradient_needs_no_graph(method: str) -> None:
    """No gradient leads from block to block, and yet they follow one another."""
    one, other = (
        pellucid.explain(model, images(2), method=method) for model in (network(Block), network(Block, reentrant=True))
    )
    torch.testing.assert_close(one.attributions, other.attributions)


def test_attention_that_draws_numbers_is_computed_again_with_the_same() -> None:
    """Dropout that is on while explaining: the weights that are held are those that were used."""

    class Drawing(Block):
        def forward(self, x: Tensor) -> Tensor:
            q, k, v = self.split(self.norm1(x))
            weights = F.dropout((q @ k.mT / q.shape[-1] ** 0.5).softmax(-1), 0.5, training=True)
            kept.append(weights)
            x = x + self.proj((weights @ v).transpose(1, 2).flatten(2))
            return x + self.mlp(self.norm2(x))

    kept: list[Tensor] = []
    model = network(Drawing)
    found = pellucid.explain(model, images(1), method="gradient_rollout", targets=1).attributions
    kept.clear()
    torch.manual_seed(0)  # as the runtime's is
    score = model(images(1))[0, 1]
    gradients = torch.autograd.grad(score, kept)
    relevance = torch.eye(17)
    for weights, gradient in zip(kept, gradients, strict=True):
        relevance = relevance + (weights * gradient)[0].relu().mean(0) @ relevance
    torch.testing.assert_close(found.flatten(), relevance[0, 1:].detach(), rtol=1e-4, atol=1e-7)


class Writing(Block):
    """Residuals in place: a network that cannot be trained, and predicts."""

    def forward(self, x: Tensor) -> Tensor:
        x += self.proj(F.scaled_dot_product_attention(*self.split(self.norm1(x))).transpose(1, 2).flatten(2))
        x += self.mlp(self.norm2(x))
        return x


@pytest.mark.parametrize("method", ["gradient_rollout", "legrad", "attnlrp", "saliency", "fullgrad"])
def test_networks_that_write_into_what_gradients_need_are_refused_in_one_line(method: str) -> None:
    with pytest.raises(GradientError, match=r"writes into values that its gradient needs .*use x = x \+ …"):
        pellucid.explain(network(Writing), images(1), method=method)


@pytest.mark.parametrize("method", ["rollout", "attention", "occlusion"])
def test_and_explained_without_gradients(method: str) -> None:
    one, other = (pellucid.explain(network(kind), images(1), method=method, targets=1) for kind in (Block, Writing))
    torch.testing.assert_close(one.attributions, other.attributions)


@pytest.mark.parametrize("method", ["attention", "rollout", "gradient_rollout", "legrad"])
@pytest.mark.parametrize(
    ("name", "fused"),
    [("test_vit", True), ("test_vit", False), ("beit_base_patch16_224", True), ("cait_xxs24_224", True)],
    ids=["fused", "unfused", "with biases", "class attention"],
)
def test_a_few_images_at_a_time_are_as_all_at_once(monkeypatch, method: str, name: str, fused: bool) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        size = {} if name == "test_vit" else {"img_size": 64, "depth": 2}
        model = timm.create_model(name, num_classes=5, **size).eval()
    for part in model.modules():
        if hasattr(part, "fused_attn"):
            part.fused_attn = fused
    side = 64 if size else 160
    batch = images(5, side=side)
    at_once = pellucid.explain(model, batch, method, targets=[0, 1, 2, 3, 4])
    assert not at_once.degenerate.all()
    profile = profile_of(Session.of(model, Runtime()), Inputs.of(batch))
    numbers = max(math.prod(call.shape) for call in profile.attention_calls)
    monkeypatch.setattr(attention_gradients, "CHUNK", {"cpu": 2 * numbers})  # parts of 2, 2 and 1
    parts = pellucid.explain(model, batch, method, targets=[0, 1, 2, 3, 4])
    torch.testing.assert_close(parts.attributions, at_once.attributions, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(parts.logits, at_once.logits)
