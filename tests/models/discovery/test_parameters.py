"""The layers with weights of their own, in the order in which a pass uses them."""

from __future__ import annotations

import pytest
import timm
import torch
import torchvision
from torch import nn

from pellucid.core.inputs import Inputs
from pellucid.core.runtime import Runtime
from pellucid.errors import SourceError
from pellucid.models.discovery.parameters import owners, weighted_layers
from pellucid.models.session.session import Session
from tests.networks import TinyCNN, TinyViT, images, seeded


def found(model, side=32):
    session = Session.of(model, Runtime())
    return weighted_layers(session, session.prepared(Inputs.of(images(1, side=side))))


def test_layers_of_a_sequence():
    assert found(seeded(TinyCNN)) == ("features.0", "features.2", "features.3", "fc")


def test_the_network_itself_is_one_where_it_uses_its_own():
    assert found(seeded(TinyViT))[:4] == ("patch", "", "blocks.0.norm1", "blocks.0.qkv")


class Parts(nn.Module):
    """Modules that are registered in another order than they run in, shared, tied, by keyword or in a list, unused."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(8, 4)
        self.unused = nn.Linear(8, 8)
        self.tied = nn.Linear(8, 8)
        self.free = nn.BatchNorm2d(8, affine=False)
        self.first = nn.Conv2d(3, 8, 1)
        self.again = self.first
        self.shared = nn.Linear(8, 8)
        self.tied.weight = self.shared.weight
        self.tied.bias = self.shared.bias
        self.listed = nn.ParameterList([torch.ones(8), torch.ones(8)])
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.sizes = nn.Linear(8, 8)

    def forward(self, x):
        assert self.sizes.weight.dtype
        assert self.sizes.weight.shape
        x = self.free(self.again(x)).mean((2, 3))
        x = x * torch.stack(list(self.listed)).sum(0)
        x = self.shared(self.tied(self.shared(x)))
        return self.head(input=self.attention(x[:, None], x[:, None], x[:, None])[0][:, 0])


def test_use_counts_and_not_the_order_of_registration():
    assert found(Parts()) == ("first", "free", "listed", "tied", "attention", "attention.out_proj", "head")


def test_shared_weights_are_the_first_modules():
    model = Parts()
    names = owners(model)
    assert names[id(model.shared.weight)] == "tied"
    assert names[id(model.free.running_mean)] == "free"
    assert id(model.free.num_batches_tracked) not in names


@pytest.mark.parametrize(
    ("build", "count", "starts", "side"),
    [
        (
            lambda: torchvision.models.swin_t(),
            94,
            ["features.0.0", "features.0.2", "features.1.0.norm1", "features.1.0.attn"],
            32,
        ),
        (
            lambda: timm.create_model("vit_tiny_patch16_224", img_size=32),
            76,
            ["patch_embed.proj", "", "blocks.0.norm1"],
            32,
        ),
        (lambda: torchvision.models.resnet18(), 41, ["conv1", "bn1", "layer1.0.conv1"], 32),
        (lambda: torchvision.models.squeezenet1_1(), 26, ["features.0", "features.3.squeeze"], 32),
    ],
)
def test_networks_that_users_have(build, count, starts, side):
    names = found(build(), side)
    assert len(names) == count
    assert list(names[: len(starts)]) == starts


def test_what_an_auxiliary_head_has_is_not_used():
    model = torchvision.models.googlenet(init_weights=False)
    assert len(found(model, 64)) == 115
    assert not any(name.startswith("aux") for name in found(model, 64))


def test_torchs_own_encoder_is_looked_into():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Conv2d(3, 8, 8, stride=8)
            self.blocks = nn.TransformerEncoder(layer, 2)
            self.head = nn.Linear(8, 4)

        def forward(self, x):
            return self.head(self.blocks(self.embed(x).flatten(2).transpose(1, 2)).mean(1))

    names = found(Encoder())
    assert names[0] == "embed"
    assert names[-1] == "head"
    assert {f"blocks.layers.{n}.{part}" for n in (0, 1) for part in ("self_attn", "linear1", "norm2")} <= set(names)


def test_a_network_without_weights_is_refused():
    class Plain(nn.Module):
        def forward(self, x):
            return x.mean((2, 3))

    with pytest.raises(SourceError, match="the model computes with no parameters: there are none to draw"):
        found(Plain())
