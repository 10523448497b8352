"""The published attention rollout against a replica that reads an unfused copy of the model."""

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

RATIOS = pytest.mark.parametrize("ratio", [0.0, 0.1, 0.5, 0.9])
FUSIONS = {"mean": np.mean, "max": np.max, "min": np.min}
SMALL = {"img_size": 64, "patch_size": 16, "embed_dim": 32, "depth": 3, "num_heads": 4, "num_classes": 5}


def sharpened(model):
    """Attention that differs between places, heads and blocks; untrained, it is nearly the same everywhere."""
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
    """Each block's attention (heads, T, T) of a timm model, from what goes into its dropout."""
    model = copy.deepcopy(model).eval()
    kept = []
    for block in model.blocks:
        block.attn.fused_attn = False
        block.attn.attn_drop.register_forward_hook(lambda _m, inputs, _o: kept.append(inputs[0][0].numpy()))
    with torch.no_grad():
        model(pixels)
    assert len(kept) == len(model.blocks)
    return kept


def step(attention, ratio, fusion, keep_first=True):
    """One block: fuse the heads, discard the lowest entries, add the identity, divide each row by its sum."""
    fused = FUSIONS[fusion](attention.astype(np.float64), axis=0)
    tokens = len(fused)
    ranked = sorted((fused[i, j], i, j) for i in range(tokens) for j in range(tokens))
    for _, i, j in ranked[: int(ratio * tokens * tokens)]:
        if (i, j) != (0, 0) or not keep_first:
            fused[i, j] = 0.0
    for i in range(tokens):
        fused[i, i] += 1.0
        fused[i] /= fused[i].sum()
    return fused


def naive(maps, ratio=0.1, fusion="mean", keep_first=True):
    """The whole product (T, T), last block leftmost."""
    product = np.eye(maps[0].shape[-1])
    for attention in maps:
        product = step(attention, ratio, fusion, keep_first) @ product
    return product


def did_you_mean(found, expected):
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("fusion", FUSIONS)
@RATIOS
def test_equals_the_replica(vit, fusion, ratio):
    found = AttentionRollout(vit, ratio, fusion).generate_attention_map(image())
    did_you_mean(found, naive(attentions(vit, image()), ratio, fusion)[0, 1:].reshape(4, 4))


def test_defaults(vit):
    rollout = AttentionRollout(vit)
    assert rollout.model is vit
    assert (rollout.discard_ratio, rollout.head_fusion, rollout.use_cuda) == (0.1, "mean", True)
    found = rollout.generate_attention_map(image())
    did_you_mean(found, naive(attentions(vit, image()), 0.1, "mean")[0, 1:].reshape(4, 4))
    same = AttentionRollout(model=vit, discard_ratio=0.1, head_fusion="mean", use_cuda=False)
    did_you_mean(same.generate_attention_map(image=image(), reshape_to_grid=True), found)


def test_options_matter(vit):
    maps = [
        AttentionRollout(vit, ratio, fusion).generate_attention_map(image())
        for ratio in (0.0, 0.5, 0.9)
        for fusion in FUSIONS
    ]
    pairs = [(i, j) for i in range(len(maps)) for j in range(i)]
    assert not any(np.allclose(maps[i], maps[j], rtol=1e-3, atol=1e-5) for i, j in pairs)


def test_the_last_layer_is_leftmost(vit):
    maps = attentions(vit, image())
    wrong = naive(maps[::-1])[0, 1:].reshape(4, 4)
    found = AttentionRollout(vit).generate_attention_map(image())
    assert np.abs(found - wrong).max() > 1e-3
    did_you_mean(found, naive(maps)[0, 1:].reshape(4, 4))


class Known(nn.Module):
    """Two blocks whose attention is given, behind a patch embedding; a class token and a 2 × 2 grid."""

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


def rows(seed, heads=2, tokens=5):
    values = torch.rand(heads, tokens, tokens, generator=torch.Generator().manual_seed(seed)) + 0.05
    values[:, 0, 0] = 1e-4
    return (values / values.sum(dim=-1, keepdim=True)).tolist()


@pytest.mark.parametrize("fusion", FUSIONS)
@RATIOS
def test_entry_0_0_is_kept(fusion, ratio):
    given = [rows(1), rows(2)]
    found = AttentionRollout(Known(*given).eval(), ratio, fusion).generate_attention_map(image(16, 16), False)
    did_you_mean(found, naive([np.array(one) for one in given], ratio, fusion)[0, 1:])


def test_what_it_means_that_entry_0_0_is_kept():
    given = np.full((1, 5, 5), 0.2)
    given[0, 0] = [0.04, 0.24, 0.24, 0.24, 0.24]
    found = AttentionRollout(Known(given.tolist()).eval(), 1 / 25).generate_attention_map(image(16, 16), False)
    did_you_mean(found, naive([given], 1 / 25)[0, 1:])
    did_you_mean(found, np.full(4, 0.12))
    assert np.abs(found - naive([given], 1 / 25, keep_first=False)[0, 1:]).max() > 1e-3


def test_how_many_are_discarded():
    given = np.arange(1, 26, dtype=np.float64).reshape(1, 5, 5)
    given /= given.sum(axis=2, keepdims=True)
    for ratio in (0.039, 0.04, 0.079, 0.081, 0.2, 0.99):
        found = AttentionRollout(Known(given.tolist()).eval(), ratio).generate_attention_map(image(16, 16), False)
        did_you_mean(found, naive([given], ratio)[0, 1:])


def test_each_image_discards_its_own(vit):
    for seed in range(3):
        pixels = image(seed=seed)
        did_you_mean(
            AttentionRollout(vit, 0.5).generate_attention_map(pixels),
            naive(attentions(vit, pixels), 0.5)[0, 1:].reshape(4, 4),
        )


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


def test_a_picture_that_is_not_square():
    torch.manual_seed(0)
    model = sharpened(VisionTransformer(**(SMALL | {"img_size": (64, 96)})))
    pixels = image(64, 96)
    found = AttentionRollout(model).generate_attention_map(pixels)
    did_you_mean(found, naive(attentions(model, pixels))[0, 1:].reshape(4, 6))


def test_distillation_token():
    torch.manual_seed(0)
    model = sharpened(VisionTransformerDistilled(**SMALL))
    found = AttentionRollout(model).generate_attention_map(image())
    # The scores are the mean of what the two tokens say.
    did_you_mean(found, naive(attentions(model, image()))[:2, 2:].mean(axis=0).reshape(4, 4))


@pytest.mark.parametrize("registers", [1, 4])
def test_register_tokens(registers):
    torch.manual_seed(0)
    model = sharpened(VisionTransformer(**SMALL, reg_tokens=registers))
    found = AttentionRollout(model).generate_attention_map(image())
    did_you_mean(found, naive(attentions(model, image()))[0, 1 + registers :].reshape(4, 4))


def test_no_tokens_but_the_patches():
    torch.manual_seed(0)
    model = sharpened(VisionTransformer(**SMALL, class_token=False, global_pool="avg"))
    found = AttentionRollout(model).generate_attention_map(image())
    did_you_mean(found, naive(attentions(model, image())).mean(axis=0).reshape(4, 4))


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("training", [False, True])
def test_torchvisions_transformer(fusion, training):
    torch.manual_seed(0)
    model = TorchvisionTransformer(64, 32, num_layers=3, num_heads=4, hidden_dim=32, mlp_dim=64, num_classes=5)
    model = sharpened(model)
    other, kept = copy.deepcopy(model), []

    for block in other.encoder.layers:
        forward = block.self_attention.forward

        def asked(query, key, value, forward=forward, **_):
            output, weights = forward(query, key, value, need_weights=True, average_attn_weights=False)
            kept.append(weights[0].numpy())
            return output, None

        block.self_attention.forward = asked
    with torch.no_grad():
        other(image())
    assert len(kept) == 3
    found = AttentionRollout(model.train(training), 0.2, fusion).generate_attention_map(image())
    did_you_mean(found, naive(kept, 0.2, fusion)[0, 1:].reshape(2, 2))
    assert model.training == training


@pytest.mark.parametrize(
    "model", [resnet18(num_classes=3), nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(2 * 62 * 62, 2))]
)
def test_a_model_without_attention(model):
    rollout = AttentionRollout(model)  # the call says it, not the constructor
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


def test_the_model_comes_back_as_it_was(vit):
    vit.train()
    vit.blocks[1].eval()
    vit.head.weight.grad = torch.ones_like(vit.head.weight)
    modes = {name: module.training for name, module in vit.named_modules()}
    fused = [block.attn.fused_attn for block in vit.blocks]
    state = copy.deepcopy(vit.state_dict())
    rollout = AttentionRollout(vit)
    first = rollout.generate_attention_map(image())
    np.testing.assert_array_equal(rollout.generate_attention_map(image()), first)
    assert modes == {name: module.training for name, module in vit.named_modules()}
    assert fused == [block.attn.fused_attn for block in vit.blocks]
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in vit.modules())
    assert all(torch.equal(value, state[name]) for name, value in vit.state_dict().items())
    grads = {name: parameter.grad for name, parameter in vit.named_parameters() if parameter.grad is not None}
    assert list(grads) == ["head.weight"]
    assert bool((grads["head.weight"] == 1).all())


def test_training_mode_and_unfused_models_give_the_same(vit):
    expected = AttentionRollout(vit).generate_attention_map(image())
    did_you_mean(AttentionRollout(vit.train()).generate_attention_map(image()), expected)
    for block in vit.blocks:
        block.attn.fused_attn = False
    did_you_mean(AttentionRollout(vit).generate_attention_map(image()), expected)
