"""The published attention rollout, compared with the replica's steps on attention that the test captures itself."""

import copy

import numpy as np
import pytest
import timm
import torch
from timm.models.deit import VisionTransformerDistilled
from timm.models.vision_transformer import VisionTransformer
from torch import nn
from torchvision.models import resnet18
from torchvision.models.vision_transformer import VisionTransformer as TorchvisionTransformer

from pellucid.errors import NoAttentionError, PellucidError
from pellucid.xai import AttentionRollout
from tests.replicas.naive_attention import discarded, fused, multiplied, normalised

RATIOS = pytest.mark.parametrize("ratio", [0.0, 0.1, 0.5, 0.9])
FUSIONS = pytest.mark.parametrize("fusion", ["mean", "max", "min"])
SMALL = {"img_size": 64, "patch_size": 16, "embed_dim": 32, "depth": 3, "num_heads": 4, "num_classes": 5}


def sharpened(model):
    """Attention that differs between positions, heads and blocks; untrained, it is nearly the same everywhere."""
    for name, parameter in model.named_parameters():
        if "qkv" in name or "in_proj" in name:
            nn.init.normal_(parameter, std=1.5 / parameter.shape[-1] ** 0.5)
    return model.eval()


@pytest.fixture
def vit():
    torch.manual_seed(0)
    return sharpened(timm.create_model("vit_tiny_patch16_224", img_size=64, depth=4, num_classes=5))


def image(height=64, width=64, seed=0):
    return torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(seed))


def attentions(model, pixels):
    """Each block's attention (heads, T, T) of a timm model, from the input of its attention dropout."""
    model = copy.deepcopy(model).eval()
    kept = []
    for block in model.blocks:
        block.attn.fused_attn = False
        block.attn.attn_drop.register_forward_hook(lambda _m, inputs, _o: kept.append(inputs[0][0].numpy()))
    with torch.no_grad():
        model(pixels)
    assert len(kept) == len(model.blocks)
    return kept


def rolled_out(maps, ratio=0.1, fusion="mean"):
    """The product (T, T) of all blocks, last block leftmost."""
    product = None
    for attention in maps:
        rows = normalised(discarded(fused(attention.tolist(), fusion), ratio))
        product = rows if product is None else multiplied(rows, product)
    return np.array(product)


def assert_close(found, expected):
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


@FUSIONS
@RATIOS
def test_equals_the_replica(vit, fusion, ratio):
    for seed in (0, 1):  # each image discards its own entries
        found = AttentionRollout(vit, ratio, fusion).generate_attention_map(image(seed=seed))
        expected = rolled_out(attentions(vit, image(seed=seed)), ratio, fusion)
        assert_close(found, expected[0, 1:].reshape(4, 4))


def test_defaults(vit):
    rollout = AttentionRollout(vit)
    assert rollout.model is vit
    assert (rollout.discard_ratio, rollout.head_fusion, rollout.use_cuda) == (0.1, "mean", True)
    same = AttentionRollout(model=vit, discard_ratio=0.1, head_fusion="mean", use_cuda=False)
    found = rollout.generate_attention_map(image())
    assert_close(same.generate_attention_map(image=image(), reshape_to_grid=True), found)


def test_options_and_the_order_of_the_blocks_change_the_map(vit):
    """Otherwise the comparison with the replica could not tell them apart."""
    maps = [
        AttentionRollout(vit, ratio, fusion).generate_attention_map(image())
        for ratio in (0.0, 0.5, 0.9)
        for fusion in ("mean", "max", "min")
    ]
    pairs = [(i, j) for i in range(len(maps)) for j in range(i)]
    assert not any(np.allclose(maps[i], maps[j], rtol=1e-3, atol=1e-5) for i, j in pairs)
    reversed_order = rolled_out(attentions(vit, image())[::-1], 0.0)[0, 1:].reshape(4, 4)
    assert np.abs(maps[0] - reversed_order).max() > 1e-3


class KnownAttention(nn.Module):
    """Blocks whose attention is given, behind a patch embedding; a class token and a 2 × 2 grid."""

    def __init__(self, *weights):
        super().__init__()
        self.patches = nn.Conv2d(3, 4, 8, 8)
        self.weights = nn.ParameterList([nn.Parameter(torch.tensor(w)[None].log()) for w in weights])
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([torch.zeros(len(x), 1, 4), x], dim=1)
        for weights in self.weights:
            x = (weights.softmax(dim=-1).expand(len(x), -1, -1, -1) @ x[:, None]).mean(dim=1)
        return self.head(x[:, 0])


def flat_map(given, ratio, fusion="mean"):
    """The adapter's flat map for known attention, a matrix (heads, 5, 5) a block."""
    rollout = AttentionRollout(KnownAttention(*(one.tolist() for one in given)).eval(), ratio, fusion)
    return rollout.generate_attention_map(image(16, 16), False)


def low_first_entry(seed):
    values = torch.rand(2, 5, 5, generator=torch.Generator().manual_seed(seed)) + 0.05
    values[:, 0, 0] = 1e-4
    return (values / values.sum(dim=-1, keepdim=True)).numpy()


@FUSIONS
@RATIOS
def test_entry_0_0_is_kept(fusion, ratio):
    given = [low_first_entry(1), low_first_entry(2)]
    assert_close(flat_map(given, ratio, fusion), rolled_out(given, ratio, fusion)[0, 1:])


def test_entry_0_0_is_kept_in_numbers():
    given = np.full((1, 5, 5), 0.2)
    given[0, 0] = [0.04, 0.24, 0.24, 0.24, 0.24]
    # Row 0 with the identity sums to 2, so each patch gets 0.24 / 2. Without entry (0, 0) it would be 0.24 / 1.96.
    assert_close(flat_map([given], 1 / 25), np.full(4, 0.12))


@pytest.mark.parametrize("ratio", [0.039, 0.04, 0.079, 0.081, 0.2, 0.99])
def test_the_number_of_discarded_entries_is_rounded_down(ratio):
    given = np.arange(1, 26, dtype=np.float64).reshape(1, 5, 5)
    given /= given.sum(axis=2, keepdims=True)
    assert_close(flat_map([given], ratio), rolled_out([given], ratio)[0, 1:])


def test_flat_or_on_the_grid(vit):
    rollout = AttentionRollout(vit)
    grid, flat = rollout.generate_attention_map(image()), rollout.generate_attention_map(image(), reshape_to_grid=False)
    assert isinstance(grid, np.ndarray)
    assert (grid.shape, flat.shape) == ((4, 4), (16,))
    np.testing.assert_array_equal(grid.reshape(-1), flat)
    assert (grid >= 0).all()


def test_three_and_four_dimensions(vit):
    rollout = AttentionRollout(vit)
    np.testing.assert_array_equal(rollout.generate_attention_map(image()[0]), rollout.generate_attention_map(image()))


@pytest.mark.parametrize("shape", [(64, 64), (1, 1, 3, 64, 64), (2, 3, 64, 64)])
def test_other_ranks_and_batches(vit, shape):
    with pytest.raises(ValueError, match="got") as caught:
        AttentionRollout(vit).generate_attention_map(torch.zeros(shape))
    assert isinstance(caught.value, PellucidError)


TRANSFORMERS = {
    "an image that is not square": (VisionTransformer, {"img_size": (64, 96)}, (4, 6), lambda product: product[0, 1:]),
    # The scores are the mean of both tokens'.
    "a distillation token": (VisionTransformerDistilled, {}, (4, 4), lambda product: product[:2, 2:].mean(axis=0)),
    "a register token": (VisionTransformer, {"reg_tokens": 1}, (4, 4), lambda product: product[0, 2:]),
    "four register tokens": (VisionTransformer, {"reg_tokens": 4}, (4, 4), lambda product: product[0, 5:]),
    "no token but the patches": (
        *(VisionTransformer, {"class_token": False, "global_pool": "avg"}),
        *((4, 4), lambda product: product.mean(axis=0)),
    ),
}


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_tokens_and_grids(name):
    kind, options, grid, patches_of = TRANSFORMERS[name]
    torch.manual_seed(0)
    model = sharpened(kind(**(SMALL | options)))
    pixels = image(16 * grid[0], 16 * grid[1])
    found = AttentionRollout(model).generate_attention_map(pixels)
    assert_close(found, patches_of(rolled_out(attentions(model, pixels))).reshape(grid))


@FUSIONS
@pytest.mark.parametrize("training", [False, True])
def test_torchvisions_transformer(fusion, training):
    torch.manual_seed(0)
    model = TorchvisionTransformer(64, 32, num_layers=3, num_heads=4, hidden_dim=32, mlp_dim=64, num_classes=5)
    model = sharpened(model)
    other, kept = copy.deepcopy(model), []

    for block in other.encoder.layers:
        forward = block.self_attention.forward

        def with_weights(query, key, value, forward=forward, **_):
            output, weights = forward(query, key, value, need_weights=True, average_attn_weights=False)
            kept.append(weights[0].numpy())
            return output, None

        block.self_attention.forward = with_weights
    with torch.no_grad():
        other(image())
    assert len(kept) == 3
    found = AttentionRollout(model.train(training), 0.2, fusion).generate_attention_map(image())
    assert_close(found, rolled_out(kept, 0.2, fusion)[0, 1:].reshape(2, 2))
    assert model.training == training


@pytest.mark.parametrize(
    "model", [resnet18(num_classes=3), nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(2 * 62 * 62, 2))]
)
def test_a_model_without_attention(model):
    rollout = AttentionRollout(model)  # the call raises, not the constructor
    with pytest.raises(RuntimeError, match=r"^No attention maps captured") as caught:
        rollout.generate_attention_map(image())
    assert isinstance(caught.value, NoAttentionError)


@pytest.mark.parametrize("ratio", [-0.1, 1.0, 1.5, float("nan")])
def test_bad_ratios(vit, ratio):
    with pytest.raises(ValueError, match="discard_ratio"):
        AttentionRollout(vit, discard_ratio=ratio)


@pytest.mark.parametrize("fusion", ["median", "Mean", ""])
def test_bad_fusions(vit, fusion):
    with pytest.raises(ValueError, match=r"head_fusion.*mean, max, min"):
        AttentionRollout(vit, head_fusion=fusion)


def test_the_model_is_unchanged(vit):
    vit.train()
    vit.blocks[1].eval()
    vit.head.weight.grad = torch.ones_like(vit.head.weight)
    modes = {name: module.training for name, module in vit.named_modules()}
    fused_attention = [block.attn.fused_attn for block in vit.blocks]
    state = copy.deepcopy(vit.state_dict())
    rollout = AttentionRollout(vit)
    first = rollout.generate_attention_map(image())
    np.testing.assert_array_equal(rollout.generate_attention_map(image()), first)
    assert modes == {name: module.training for name, module in vit.named_modules()}
    assert fused_attention == [block.attn.fused_attn for block in vit.blocks]
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in vit.modules())
    assert all(torch.equal(value, state[name]) for name, value in vit.state_dict().items())
    grads = {name: parameter.grad for name, parameter in vit.named_parameters() if parameter.grad is not None}
    assert list(grads) == ["head.weight"]
    assert bool((grads["head.weight"] == 1).all())


def test_training_mode_and_unfused_attention_give_the_same_map(vit):
    expected = AttentionRollout(vit).generate_attention_map(image())
    assert_close(AttentionRollout(vit.train()).generate_attention_map(image()), expected)
    for block in vit.blocks:
        block.attn.fused_attn = False
    assert_close(AttentionRollout(vit).generate_attention_map(image()), expected)
