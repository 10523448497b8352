"""Latents, sums over space and projections to other tokens have no positions; what mixes tokens in place keeps them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.segmentation import deeplabv3_mobilenet_v3_large

import pellucid
from pellucid.core.inputs import Inputs
from pellucid.core.runtime import Runtime
from pellucid.errors import LayerError, NoAttentionError
from pellucid.models.discovery.layers import recommended
from pellucid.models.discovery.profile import ModelProfile
from pellucid.models.discovery.recording import profile_of
from pellucid.models.session.session import Session
from tests.networks import TinyViT, images, seeded

WIDTH, PATCHES = 24, 64


class Mixed(TinyViT):
    """A vision transformer with mean pooling and 8 × 8 patches, whose tokens are mixed after the first block."""

    def __init__(self, mix: Callable[[], nn.Module]) -> None:
        super().__init__(prefix=0, side=64)
        self.mix = mix()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.blocks[1](self.mix(self.blocks[0](self.embed(x))))).mean(dim=1))


class Attention(nn.Module):
    """Attention of some tokens to others, with linear layers of its own and no residual connection."""

    def __init__(self, heads: int = 2) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(WIDTH, WIDTH) for _ in range(3))

    def split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def forward(self, queries: Tensor, keys: Tensor) -> Tensor:
        query, key, value = self.split(self.query(queries)), self.split(self.key(keys)), self.split(self.value(keys))
        return ((query @ key.transpose(-2, -1)).softmax(dim=-1) @ value).transpose(1, 2).flatten(2)


class Latents(nn.Module):
    """Learned queries attend to the tokens, as in Perceiver and Q-Former."""

    def __init__(self, count: int = 16) -> None:
        super().__init__()
        self.latents = nn.Parameter(torch.randn(1, count, WIDTH))
        self.norm = nn.LayerNorm(WIDTH)
        self.own_norm = nn.LayerNorm(WIDTH)
        self.attend = Attention()

    def forward(self, x: Tensor) -> Tensor:
        latents = self.latents.expand(len(x), -1, -1)
        return latents + self.attend(self.own_norm(latents), self.norm(x))


class TorchLatents(Latents):
    """The same with torch's own attention."""

    def __init__(self) -> None:
        super().__init__()
        self.torchs = nn.MultiheadAttention(WIDTH, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.torchs(self.latents.expand(len(x), -1, -1), x, x)[0]


class Weighted(nn.Module):
    """Weighted sums over space (TokenLearner), and soft assignments."""

    def __init__(self, join: Callable[[Tensor, Tensor], Tensor], count: int = 16) -> None:
        super().__init__()
        self.join = join
        self.weigh = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, count))

    def forward(self, x: Tensor) -> Tensor:
        return self.join(self.weigh(x).softmax(dim=1), x)  # weights (B, T, count)


class Slots(nn.Module):
    """Slots that compete for the tokens (slot attention)."""

    def __init__(self, count: int = 16) -> None:
        super().__init__()
        self.slots = nn.Parameter(torch.randn(1, count, WIDTH))
        self.query, self.key, self.value = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.update = nn.GRUCell(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        slots = self.slots.expand(len(x), -1, -1)
        for _ in range(2):
            weights = torch.einsum("bid,bjd->bij", self.query(slots), self.key(x)).softmax(dim=1) + 1e-8
            sums = torch.einsum("bjd,bij->bid", self.value(x), weights / weights.sum(dim=-1, keepdim=True))
            slots = self.update(sums.flatten(0, 1), slots.flatten(0, 1)).view_as(slots)
        return slots


class Projected(nn.Module):
    """A linear layer over the tokens' axis makes other tokens."""

    def __init__(self, count: int = 16) -> None:
        super().__init__()
        self.project = nn.Linear(PATCHES, count)

    def forward(self, x: Tensor) -> Tensor:
        return self.project(x.transpose(1, 2)).transpose(1, 2)


class Dense(nn.Module):
    """One linear layer over all tokens and channels."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(PATCHES * WIDTH, 16 * WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return self.project(x.flatten(1)).unflatten(1, (16, WIDTH))


def by_product(weights: Tensor, x: Tensor) -> Tensor:
    return weights.transpose(1, 2) @ x


def by_equation(weights: Tensor, x: Tensor) -> Tensor:
    return torch.einsum("btn,btc->bnc", weights, x)


def by_sum(weights: Tensor, x: Tensor) -> Tensor:
    return (weights.transpose(1, 2).unsqueeze(-1) * x.unsqueeze(1)).sum(dim=2)


class Coordinates(nn.Module):
    """Coordinate attention: a gate of each row and of each column."""

    def __init__(self) -> None:
        super().__init__()
        self.reduce, self.down, self.across = (nn.Conv2d(WIDTH, WIDTH, 1) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        x = x.transpose(1, 2).unflatten(2, (8, 8))
        rows = F.adaptive_avg_pool2d(x, (None, 1))
        columns = F.adaptive_avg_pool2d(x, (1, None)).permute(0, 1, 3, 2)
        rows, columns = self.reduce(torch.cat([rows, columns], dim=2)).relu().split(8, dim=2)
        x = x * self.down(rows).sigmoid() * self.across(columns.permute(0, 1, 3, 2)).sigmoid()
        return x.flatten(2).transpose(1, 2)


SOFT: dict[str, Callable[[], nn.Module]] = {
    "latents": Latents,
    "latents behind gates of two directions": lambda: nn.Sequential(Coordinates(), Latents()),
    "as many latents as patches": lambda: Latents(PATCHES),
    "torch's attention": TorchLatents,
    "weighted by a product": lambda: Weighted(by_product),
    "weighted by an equation": lambda: Weighted(by_equation, PATCHES),
    "weighted by a sum": lambda: Weighted(by_sum),
    "slots": Slots,
    "projected": Projected,
    "projected to as many": lambda: Projected(PATCHES),
    "projected by a convolution": lambda: nn.Conv1d(PATCHES, 16, 1),
    "pooled along the rows": lambda: Transposed(nn.AdaptiveAvgPool1d(16)),
    "dense": Dense,
}


class Transposed(nn.Sequential):
    """Modules over channels first, (B, C, T)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


class Residual(nn.Module):
    """What a module makes of the tokens is added to them."""

    def __init__(self, change: nn.Module) -> None:
        super().__init__()
        self.change = change

    def forward(self, x: Tensor) -> Tensor:
        return x + self.change(x)


class Own(Attention):
    """Self-attention without a residual connection, as where LeViT makes its grid smaller."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x, x)


class Linear(Attention):
    """Linear attention: keys times values first."""

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (self.split(part(x)) for part in (self.query, self.key, self.value))
        return (query.softmax(-1) @ (key.softmax(-2).transpose(-2, -1) @ value)).transpose(1, 2).flatten(2)


class OfChannels(Attention):
    """Attention between channels (XCiT)."""

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (self.split(part(x)).transpose(-2, -1) for part in (self.query, self.key, self.value))
        return ((query @ key.transpose(-2, -1)).softmax(dim=-1) @ value).permute(0, 3, 1, 2).flatten(2)


class Reduced(Attention):
    """Keys and values of a coarser grid (PVT)."""

    def __init__(self) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(WIDTH, WIDTH, 2, 2)

    def forward(self, x: Tensor) -> Tensor:
        grid = x.transpose(1, 2).unflatten(2, (8, 8))
        return super().forward(x, self.reduce(grid).flatten(2).transpose(1, 2))


class Gated(nn.Module):
    """A spatial gate (gMLP), and one of channels (squeeze and excitation)."""

    def __init__(self) -> None:
        super().__init__()
        self.over_tokens = nn.Linear(PATCHES, PATCHES)
        self.squeeze = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        x = x * self.over_tokens(x.transpose(1, 2)).transpose(1, 2)
        return x * self.squeeze(x.mean(dim=1)).sigmoid().unsqueeze(1)


class Registers(nn.Module):
    """Further tokens beside the patches, and self-attention of all; or what reads all of them, as a class token."""

    def __init__(self) -> None:
        super().__init__()
        self.registers = nn.Parameter(torch.randn(1, 4, WIDTH))
        self.own, self.attend = Own(), Attention()

    def forward(self, x: Tensor) -> Tensor:
        extra = self.registers.expand(len(x), -1, -1)
        x = self.own(torch.cat([extra, x], dim=1))[:, 4:]
        return torch.cat([self.attend(extra[:, :1], x), x], dim=1)


class Spectral(nn.Module):
    """A Fourier transform over tokens and channels (FNet)."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.fft.fft2(x).real


class Axial(nn.Module):
    """Attention along the columns of a map, whose rows are a batch (Axial-DeepLab, MedT), as its authors write it."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Conv1d(WIDTH, 3 * WIDTH, 1, bias=False)
        self.normed = nn.BatchNorm1d(3 * WIDTH)
        self.up = nn.Sequential(nn.Conv2d(WIDTH, WIDTH, 1), nn.BatchNorm2d(WIDTH), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        x = x.transpose(1, 2).reshape(len(x), WIDTH, 8, 8).permute(0, 3, 1, 2)
        n, w, c, h = x.shape
        qkv = self.normed(self.qkv(x.contiguous().view(n * w, c, h))).reshape(n * w, 2, 3 * c // 2, h)
        q, k, v = qkv.split(c // 2, dim=2)
        weights = torch.einsum("bgci,bgcj->bgij", q, k).softmax(dim=3)
        out = torch.einsum("bgij,bgcj->bgci", weights, v).reshape(n * w, c, h)
        return self.up(out.view(n, w, c, h).permute(0, 2, 3, 1)).flatten(2).transpose(1, 2)


IN_PLACE: dict[str, Callable[[], nn.Module]] = {
    "self-attention": Own,
    "linear attention": Linear,
    "attention of channels": OfChannels,
    "fewer keys": Reduced,
    "a mixer's tokens": lambda: Residual(Transposed(nn.Linear(PATCHES, 32), nn.GELU(), nn.Linear(32, PATCHES))),
    "a mixer's tokens, convolved": lambda: Residual(nn.Conv1d(PATCHES, PATCHES, 1)),
    "gates": Gated,
    "gates of two directions": Coordinates,
    "registers and a class token": Registers,
    "a Fourier transform": lambda: Residual(Spectral()),
    "attention along the columns": Axial,
    "pooled and subtracted": lambda: Residual(Transposed(nn.AvgPool1d(3, 1, 1))),
}


FOUND = {
    **dict.fromkeys(("latents", "as many latents as patches"), "mix.norm"),
    "latents behind gates of two directions": "mix.1.norm",
    **dict.fromkeys(("weighted by a product", "weighted by an equation", "weighted by a sum"), "patch"),
}
"""The layers that are found where it is not the first block: the last one that follows the image before the mixing."""


def model_of(mix: Callable[[], nn.Module]) -> nn.Module:
    return seeded(Mixed, mix).eval()


def looked_into(model: nn.Module, batch: Tensor) -> tuple[ModelProfile, tuple[str, ...], int]:
    """A network's profile, the layer that is found, and the passes of one image that both take."""
    session, counted = Session.of(model, Runtime()), []
    session.network.register_forward_hook(lambda _module, given, _output: counted.append(len(given[0])))
    found = recommended(session, Inputs.of(batch))
    return profile_of(session, Inputs.of(batch)), found, sum(counted)


@pytest.mark.parametrize("name", SOFT)
def test_what_has_lost_its_positions_is_not_found_and_refused_by_name(name: str) -> None:
    model, batch = model_of(SOFT[name]), images(2, side=64)
    profile, found, passes = looked_into(model, batch)
    assert found == (FOUND.get(name, "blocks.0"),)
    assert {"norm", "blocks.1"} <= profile.shuffled
    assert passes <= 40
    for layer in ("norm", "blocks.1", "blocks.1.norm1"):
        with pytest.raises(LayerError, match=r"each of its positions is a mixture .*, such as '([\w.]+)'") as error:
            pellucid.explain(model, batch, layers=[layer])
        assert "\n" not in str(error.value)
    earlier = str(error.value).split("such as '")[1].split("'")[0]
    assert pellucid.explain(model, batch, layers=[earlier], targets=0).heatmaps.shape == (2, 1, 64, 64)
    other = str(error.value).rpartition("such as ")[2].split(" or ")[0]
    assert pellucid.explain(model, batch, other, targets=0).heatmaps.shape == (2, 1, 64, 64)


@pytest.mark.parametrize("name", ["latents", "projected by a convolution", "slots"])
def test_the_earlier_layer_has_the_right_map(name: str) -> None:
    """HiResCAM of the layer that is found, by hand: the sum over channels of gradient times output, row by row."""
    model, batch = model_of(SOFT[name]), images(2, side=64)
    found = pellucid.explain(model, batch, "hirescam", targets=1)
    kept: list[Tensor] = []
    model.get_submodule(found.layers[0]).register_forward_hook(lambda _module, _inputs, output: kept.append(output))
    score = model(batch)[:, 1].sum()
    (gradient,) = torch.autograd.grad(score, kept)
    expected = (gradient * kept[0]).sum(dim=-1).unflatten(1, (8, 8)).unsqueeze(1)
    torch.testing.assert_close(found.attributions, expected.detach(), atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("name", IN_PLACE)
def test_what_mixes_tokens_in_place_is_as_any_network(name: str) -> None:
    profile, found, _ = looked_into(model_of(IN_PLACE[name]), images(1, side=64))
    layers = [name for name, runs in profile.runs.items() if runs[-1].is_mixed]
    assert found == ("norm",)
    assert not {"blocks.1", "norm", "mix", "mix.up", "mix.up.2"} & {*layers, *profile.shuffled}


def test_it_takes_the_passes_of_any_network_where_nothing_is_suspected() -> None:
    counted = []
    model = model_of(Own)
    model.head.register_forward_hook(lambda _module, _inputs, output: counted.append(len(output)))
    profile = profile_of(Session.of(model, Runtime()), Inputs.of(images(1, side=64)))
    assert sum(counted) == 1 + 2 * 6
    assert profile.shuffled == frozenset()


class Reading(nn.Module):
    """Learned queries that each read the tokens of one cell, as a decoder with learned positions does."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Parameter(12 * torch.eye(PATCHES))

    def forward(self, x: Tensor) -> Tensor:
        return self.logits.softmax(dim=-1) @ x


class Blurred(Own):
    """Self-attention of nearly equal weights: what each token gets of its own is lost, as deep in any network."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x * 1e-2)


@pytest.mark.parametrize("mix", [Reading, lambda: nn.Sequential(Reading(), Blurred(), Blurred())])
def test_queries_that_are_places_are_measured_and_keep_what_follows(mix: Callable[[], nn.Module]) -> None:
    profile, found, _ = looked_into(model_of(mix), images(1, side=64))
    assert profile.runs["norm"][-1].is_mixed
    assert found == ("norm",)
    assert profile.shuffled == frozenset()


def test_what_does_not_depend_on_the_image_has_no_positions() -> None:
    model, batch = model_of(lambda: Latents(PATCHES)), images(1, side=64)
    profile, _, _ = looked_into(model, batch)
    assert "mix.own_norm" in profile.shuffled
    with pytest.raises(LayerError, match=r"'mix.own_norm' was asked for; its output does not depend on the image"):
        pellucid.explain(model, batch, layers=["mix.own_norm"])


class Labelled(nn.Module):
    """The scores of a segmentation network without those of its auxiliary head."""

    def __init__(self) -> None:
        super().__init__()
        self.network = deeplabv3_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=3)

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x)["out"]


def test_a_branch_of_global_pooling_is_refused_and_takes_no_pass_for_itself() -> None:
    model, counted = seeded(Labelled).eval(), []
    model.register_forward_hook(lambda _module, given, _output: counted.append(len(given[0])))
    profile = profile_alone(model)
    assert profile.shuffled == {"network.classifier.0.convs.4"}
    assert counted == [1, 6], "the image itself, and the changes by which every network's layers are followed"
    with pytest.raises(LayerError, match="each of its positions is a mixture of the whole image"):
        pellucid.explain(model, images(1, side=64), layers=["network.classifier.0.convs.4"])


class Few(nn.Module):
    """A part that raises for more images, or in more passes, than it takes."""

    def __init__(self, mix: nn.Module, error: Exception, most: int = 1, passes: int = 100) -> None:
        super().__init__()
        self.inner, self.error, self.most, self.passes = mix, error, most, passes
        self.sizes: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.sizes.append(len(x))
        if len(x) > self.most or len(self.sizes) > self.passes:
            raise self.error
        return self.inner(x)


def profile_alone(model: nn.Module) -> ModelProfile:
    return profile_of(Session.of(model, Runtime()), Inputs.of(images(1, side=64)))


OUT_OF_MEMORY = torch.OutOfMemoryError("CUDA out of memory")
RAISED = [(2, OUT_OF_MEMORY), (1, OUT_OF_MEMORY), (1, AssertionError("one image")), (1, TypeError()), (1, KeyError(6))]


@pytest.mark.parametrize(("most", "error"), RAISED, ids=str)
@pytest.mark.parametrize(("mix", "is_refused"), [(Reading, False), (Latents, True)])
def test_networks_that_take_few_images_are_measured_with_these(
    mix: Callable[[], nn.Module], is_refused: bool, most: int, error: Exception
) -> None:
    model = model_of(lambda: Few(mix(), error, most))
    assert ("norm" in profile_alone(model).shuffled) == is_refused
    assert set(model.mix.sizes) == {1, 2, 6}


@pytest.mark.parametrize("mix", [Reading, Latents])
def test_what_cannot_be_measured_is_not_refused_on_suspicion_alone(mix: Callable[[], nn.Module]) -> None:
    model = model_of(lambda: Few(mix(), OUT_OF_MEMORY, passes=1))
    profile = profile_alone(model)
    assert profile.runs["norm"][-1].is_mixed
    assert profile.shuffled == frozenset()
    assert len(model.mix.sizes) > 1


@pytest.mark.parametrize("method", ["rollout", "gradient_rollout", "legrad"])
def test_attention_between_latents_is_not_drawn(method: str) -> None:
    with pytest.raises(NoAttentionError, match=r"mirrors or mixes them.*such as gradcam"):
        pellucid.explain(model_of(Slots), images(1, side=64), method, targets=0)


@pytest.mark.parametrize("latents", [49, 196])
def test_transformers_perceiver(latents: int) -> None:
    from transformers import PerceiverConfig, PerceiverForImageClassificationConvProcessing

    class Scores(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            sizes = {"num_latents": latents, "d_latents": 32, "num_blocks": 1, "num_self_attends_per_block": 2}
            heads = {"num_self_attention_heads": 2, "num_cross_attention_heads": 1}
            self.network = PerceiverForImageClassificationConvProcessing(
                PerceiverConfig(**sizes, **heads, image_size=56, num_labels=3)
            )

        def forward(self, x: Tensor) -> Tensor:
            return self.network(pixel_values=x).logits

    model, batch = seeded(Scores).eval(), images(1, side=56)
    found = pellucid.explain(model, batch, "hirescam", targets=0)
    assert found.layers == ("network.perceiver.input_preprocessor.convnet.relu",)
    with pytest.raises(LayerError, match="each of its positions is a mixture of the whole image") as error:
        pellucid.explain(model, batch, layers=["network.perceiver.encoder.self_attends.1"])
    earlier = str(error.value).split("such as '")[1].split("'")[0]
    pellucid.explain(model, batch, layers=[earlier], targets=0)
