"""Registers that are taken out of a joint sequence are no grid, also where their number is a square."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import timm
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

import pellucid
from pellucid.core.inputs import Inputs
from pellucid.core.runtime import Runtime
from pellucid.errors import LayerError, NoAttentionError
from pellucid.models.discovery.layers import recommended
from pellucid.models.discovery.profile import ModelProfile
from pellucid.models.discovery.recording import profile_of
from pellucid.models.session.session import Session
from tests.networks import Block, images, seeded

WIDTH = 24
Take = Callable[[Tensor, int, int], Tensor]


class Joint(nn.Module):
    """Patches of 8 pixels, a class token and registers run together; the registers alone are read."""

    def __init__(self, order: str, count: int, side: int, take: Take) -> None:
        super().__init__()
        cells = (side // 8) ** 2
        self.order, self.count, self.take = order, count, take
        self.patch = nn.Conv2d(3, WIDTH, 8, 8)
        self.own, self.registers = nn.Parameter(torch.randn(1, 1, WIDTH)), nn.Parameter(torch.randn(1, count, WIDTH))
        self.position = nn.Parameter(torch.randn(1, 1 + count + cells, WIDTH) / 3)
        self.blocks, self.norm = nn.Sequential(*(Block(WIDTH, 3) for _ in range(3))), nn.LayerNorm(WIDTH)
        self.after, self.last, self.head = Block(WIDTH, 3), nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 3)

    def forward(self, x: Tensor) -> Tensor:
        patches = self.patch(x).flatten(2).transpose(1, 2)
        own, registers = self.own.expand(len(x), -1, -1), self.registers.expand(len(x), -1, -1)
        half = patches.shape[1] // 2
        parts, start = {
            "front": ([own, registers, patches], 1),
            "end": ([own, patches, registers], 1 + patches.shape[1]),
            "between": ([own, patches[:, :half], registers, patches[:, half:]], 1 + half),
        }[self.order]
        tokens = self.blocks(torch.cat(parts, dim=1) + self.position)
        taken = self.norm(self.take(tokens, start, start + self.count))
        return self.head(self.last(self.after(taken)).mean(1))


def asking(x: Tensor, start: int, stop: int) -> Tensor:
    """The registers' heads alone ask all tokens."""
    each = x.unflatten(2, (3, 8)).transpose(1, 2)
    return F.scaled_dot_product_attention(each[:, :, start:stop], each, each).transpose(1, 2).flatten(2)


TAKES: dict[str, Take] = {
    "sliced": lambda x, start, stop: x[:, start:stop],
    "split": lambda x, start, stop: x.split([start, stop - start, x.shape[1] - stop], 1)[1],
    "narrowed": lambda x, start, stop: x.narrow(1, start, stop - start),
    "listed": lambda x, start, stop: x[:, list(range(start, stop))],
    "one by one": lambda x, start, stop: torch.stack(x.unbind(1)[start:stop], 1),
    "one by one, side by side": lambda x, start, stop: torch.cat([x[:, i, None] for i in range(start, stop)], 1),
    "beside the class token": lambda x, start, stop: torch.cat([x[:, :1], x[:, start:stop]], 1),
    "channels first": lambda x, start, stop: x.mT[:, :, start:stop].mT,
    "tokens first": lambda x, start, stop: x.transpose(0, 1).contiguous()[start:stop].transpose(0, 1),
    "asking": lambda x, start, stop: F.scaled_dot_product_attention(x[:, start:stop], x, x),
    "asking by heads": asking,
    "by numbers": lambda x, start, stop: x[:, torch.arange(start, stop)],
    "written elsewhere": lambda x, start, stop: torch.zeros(1).expand(len(x), stop - start, WIDTH) + x[:, start:stop],
}


def looked_into(model: nn.Module, batch: Tensor) -> tuple[ModelProfile, tuple[str, ...], int]:
    """A network's profile, the layer that is found, and the whole passes of one image that the profile takes."""
    session, passes = Session.of(model.eval(), Runtime()), []
    session.network.register_forward_hook(lambda _module, given, _output: passes.append(len(given[0])))
    profile = profile_of(session, Inputs.of(batch))
    counted = sum(passes)
    return profile, recommended(session, Inputs.of(batch)), counted


ORDERS = ("front", "end", "between")
SIDES = {4: 64, 9: 96, 16: 64}
CASES = [
    *((count, order, "sliced") for count in SIDES for order in ORDERS),
    *((4, "between", take) for take in TAKES if take != "sliced"),
]


@pytest.mark.parametrize(("count", "order", "take"), CASES)
def test_what_holds_registers_alone_is_not_found_and_refused_by_name(count: int, order: str, take: str) -> None:
    side = SIDES[count]
    model, batch = seeded(Joint, order, count, side, TAKES[take]).eval(), images(1, side=side)
    _, found, _ = looked_into(model, batch)
    assert found in (("patch",), ("blocks",))
    for layer in ("norm", "after", "last"):
        with pytest.raises(LayerError, match=rf"'{layer}' was asked for; (its|each of its) positions") as error:
            pellucid.explain(model, batch, layers=[layer])
        message = str(error.value)
        assert "\n" not in message
    if take not in ("by numbers", "listed"):
        assert "as a latent or a register is" in message
    earlier = message.split("such as '")[1].split("'")[0]
    assert earlier == ("patch" if count == 16 else "blocks")
    assert pellucid.explain(model, batch, layers=[earlier], targets=0).heatmaps.shape == (1, 1, side, side)
    other = message.rpartition("such as ")[2].split(" or ")[0]
    assert pellucid.explain(model, batch, other, targets=0).heatmaps.shape == (1, 1, side, side)


@pytest.mark.parametrize("seed", [35, 44, 52, 55])
def test_on_a_grid_of_four_cells_chance_does_not_decide(seed: int) -> None:
    """In these networks the registers follow seven of ten changes by chance, two thirds of them."""
    torch.manual_seed(seed)
    model = Joint("front", 4, 64, TAKES["sliced"])
    profile, found, _ = looked_into(model, images(1, side=64))
    assert found == ("patch",)
    assert {"norm", "after", "last"} <= profile.shuffled


@pytest.mark.parametrize("order", ORDERS)
def test_the_map_of_the_earlier_layer_is_right(order: str) -> None:
    """HiResCAM by hand: the sum over channels of gradient times output, at the tokens of the patches."""
    model, batch = seeded(Joint, order, 4, 64, TAKES["sliced"]).eval(), images(2, side=64)
    found = pellucid.explain(model, batch, "hirescam", targets=1, layers=["blocks.1"])
    kept: list[Tensor] = []
    model.blocks[1].register_forward_hook(lambda _module, _inputs, output: kept.append(output))
    (gradient,) = torch.autograd.grad(model(batch)[:, 1].sum(), kept)
    each = (gradient * kept[0]).sum(dim=-1)
    patches = {
        "front": each[:, 5:],
        "end": each[:, 1:65],
        "between": torch.cat([each[:, 1:33], each[:, 37:]], dim=1),
    }[order]
    expected = patches.unflatten(1, (8, 8)).unsqueeze(1)
    torch.testing.assert_close(found.attributions, expected.detach(), atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("method", ["rollout", "gradient_rollout", "legrad"])
def test_attention_between_registers_is_not_drawn(method: str) -> None:
    class Further(Joint):
        def forward(self, x: Tensor) -> Tensor:
            patches = self.patch(x).flatten(2).transpose(1, 2)
            tokens = torch.cat([self.registers.expand(len(x), -1, -1), patches], dim=1)
            return self.head(self.after(self.norm(tokens + tokens.mean(1, keepdim=True))[:, : self.count]).mean(1))

    model = seeded(Further, "front", 16, 64, TAKES["sliced"]).eval()
    with pytest.raises(NoAttentionError, match=r"mixes them.*such as gradcam"):
        pellucid.explain(model, images(1, side=64), method, targets=0)


class OfTimm(VisionTransformer):
    """Timm's, whose head reads a norm of the registers."""

    def __init__(self) -> None:
        sizes = {"img_size": 64, "patch_size": 8, "embed_dim": 32, "depth": 3, "num_heads": 2}
        super().__init__(**sizes, num_classes=3, reg_tokens=4)
        self.last = nn.LayerNorm(32)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        return self.head(self.last(x[:, 1:5]).mean(1))


def of_transformers() -> nn.Module:
    from transformers import Dinov2WithRegistersConfig, Dinov2WithRegistersModel

    class Scores(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_register_tokens": 4}
            self.network = Dinov2WithRegistersModel(Dinov2WithRegistersConfig(image_size=64, patch_size=8, **sizes))
            self.last, self.head = nn.LayerNorm(32), nn.Linear(32, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.last(self.network(x).last_hidden_state[:, 1:5]).mean(1))

    return Scores()


class OfTorch(nn.Module):
    """Torch's encoder, which takes tokens first."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.registers = nn.Conv2d(3, 32, 8, 8), nn.Parameter(torch.randn(4, 1, 32))
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(32, 2, 64), 2, enable_nested_tensor=False)
        self.last, self.head = nn.LayerNorm(32), nn.Linear(32, 3)

    def forward(self, x: Tensor) -> Tensor:
        patches = self.patch(x).flatten(2).permute(2, 0, 1)
        tokens = self.encoder(torch.cat([self.registers.expand(-1, len(x), -1), patches]))
        return self.head(self.last(tokens[:4]).mean(0))


@pytest.mark.parametrize("build", [OfTimm, of_transformers, OfTorch])
def test_published_transformers_whose_head_reads_registers(build: Callable[[], nn.Module]) -> None:
    model, batch = seeded(build).eval(), images(1, side=64)
    profile, found, _ = looked_into(model, batch)
    assert "last" in profile.shuffled
    assert "last" not in found
    with pytest.raises(LayerError, match="as a latent or a register is") as error:
        pellucid.explain(model, batch, layers=["last"])
    earlier = str(error.value).split("such as '")[1].split("'")[0]
    pellucid.explain(model, batch, layers=[earlier], targets=0)


class Apart(nn.Module):
    """Registers and patches go through norms of their own, and are joined again."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count, self.few, self.many = count, nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.few(x[:, : self.count]), self.many(x[:, self.count :])], dim=1)


class Keeping(nn.Module):
    """Registers and patches, what happens to them, and the mean of the patches."""

    def __init__(self, later: Callable[[], nn.Module], count: int = 4, side: int = 64) -> None:
        super().__init__()
        self.count, self.patch = count, nn.Conv2d(3, WIDTH, 8, 8)
        self.registers = nn.Parameter(torch.randn(1, count, WIDTH))
        self.blocks = nn.Sequential(Block(WIDTH, 3), later(), Block(WIDTH, 3))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 3)

    def forward(self, x: Tensor) -> Tensor:
        patches = self.patch(x).flatten(2).transpose(1, 2)
        tokens = self.blocks(torch.cat([self.registers.expand(len(x), -1, -1), patches], dim=1))
        return self.head(self.norm(tokens[:, self.count :]).mean(1))


class Written(nn.Module):
    """Writes into the registers."""

    def forward(self, x: Tensor) -> Tensor:
        x = x.clone()
        x[:, :4] += 1
        x[:, :2].mul_(2)
        return x


class Halves(nn.Module):
    """Halves of the tokens, one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.norm(part) for part in x.chunk(2, dim=1)], dim=1)


@pytest.mark.parametrize("later", [nn.Identity, Written, Halves])
def test_what_keeps_its_patches_costs_six_passes(later: Callable[[], nn.Module]) -> None:
    profile, found, passes = looked_into(seeded(Keeping, later), images(1, side=64))
    assert (found, profile.shuffled, passes) == (("norm",), frozenset(), 1 + 6)
    assert not any(run.is_mixed for name in ("blocks", "norm") for run in profile.runs[name])


@pytest.mark.parametrize("count", [4, 16])
def test_registers_that_are_joined_to_the_patches_again_are_refused_alone(count: int) -> None:
    profile, found, passes = looked_into(seeded(Keeping, lambda: Apart(count), count), images(1, side=64))
    assert found == ("norm",)
    assert profile.shuffled == {"blocks.1.few"}
    assert passes == 7, "they follow so few of the first changes that the others are not needed"


def test_patches_that_are_as_few_as_registers_are_measured_and_kept() -> None:
    profile, found, passes = looked_into(seeded(Keeping, nn.Identity, 16, 32), images(1, side=32))
    assert found == ("norm",)
    assert profile.shuffled == frozenset()
    assert profile.runs["norm"][-1].is_mixed
    assert passes == 13


@pytest.mark.parametrize("name", ["vit_pwee_patch16_reg1_gap_256", "vit_little_patch16_reg4_gap_256"])
def test_ordinary_networks_with_registers_are_as_they_were(name: str) -> None:
    model = seeded(lambda: timm.create_model(name, img_size=64))
    profile, found, passes = looked_into(model, images(1, side=64))
    assert (found, profile.shuffled, passes) == (("blocks",), frozenset(), 1 + 6)
