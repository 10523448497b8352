"""Random weights of a layer: as its type initialises them, and nothing of the user's is written into."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from pellucid.models.session.randomised import learned, redrawn


def values(module):
    return {name: one.detach().clone() for name, one in module.state_dict().items()}


def new(module, seed=3):
    """The new values by name."""
    found = redrawn(module, seed)
    return {name: found[id(old)] for name, old in learned(module).items()}


@pytest.mark.parametrize(
    "build",
    [
        lambda: nn.Conv2d(3, 4, 3),
        lambda: nn.ConvTranspose3d(2, 3, 2),
        lambda: nn.Linear(5, 6),
        lambda: nn.LayerNorm(7),
        lambda: nn.GroupNorm(2, 4),
        lambda: nn.LSTM(4, 5, 2),
        lambda: nn.PReLU(3),
        lambda: nn.Embedding(6, 3, padding_idx=1),
        lambda: nn.Bilinear(2, 3, 4),
    ],
)
def test_they_are_what_the_layers_initialisation_draws(build):
    module = build()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.uniform_(2, 3)
    before = values(module)
    other = copy.deepcopy(module)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        other.reset_parameters()
    state = torch.get_rng_state()
    found = new(module)
    assert torch.equal(torch.get_rng_state(), state)
    torch.testing.assert_close(values(module), before, rtol=0, atol=0)
    assert sorted(found) == sorted(dict(other.named_parameters()))
    for name, expected in other.named_parameters():
        assert isinstance(found[name], nn.Parameter)
        torch.testing.assert_close(found[name], expected, rtol=0, atol=0)
        assert not torch.allclose(found[name], before[name])


@pytest.mark.parametrize("affine", [True, False])
def test_running_statistics_start_anew(affine):
    module = nn.BatchNorm2d(3, affine=affine).train()
    module(torch.randn(4, 3, 5, 5) * 3 + 2)
    before = values(module)
    found = new(module)
    assert found["running_mean"].tolist() == [0] * 3
    assert found["running_var"].tolist() == [1] * 3
    assert ("weight" in found) is affine
    torch.testing.assert_close(values(module), before, rtol=0, atol=0)  # also the number of batches


class Frozen(nn.Module):
    """A norm of one's own, without an initialisation."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("running_mean", torch.tensor([4.0]))
        self.register_buffer("running_var", torch.tensor([9.0]))
        self.register_buffer("grid", torch.tensor([7.0]))


def test_running_statistics_without_an_initialisation_become_0_and_1():
    assert {name: one.item() for name, one in new(Frozen()).items()} == {"running_mean": 0, "running_var": 1}


class Tokens(nn.Module):
    """Parameters that no initialisation writes, beside a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 4000, generator=torch.Generator().manual_seed(1)) * 5 + 2)
        self.scale = nn.Parameter(torch.tensor(2.5))
        self.inner = nn.Linear(2, 2)


def test_other_parameters_are_normal_with_the_mean_and_deviation_that_they_had():
    module = Tokens()
    found = new(module)
    assert set(found) == {"token", "scale"}
    assert found["scale"].item() == 2.5
    assert found["token"].mean().item() == pytest.approx(2, abs=0.3)
    assert found["token"].std().item() == pytest.approx(5, abs=0.3)
    both = torch.stack([found["token"][0], module.token[0]])
    assert abs(torch.corrcoef(both)[0, 1].item()) < 0.1
    torch.testing.assert_close(new(module)["token"], found["token"], rtol=0, atol=0)
    assert not torch.equal(new(module, 4)["token"], found["token"])


class Whole(Tokens):
    """An initialisation that also writes what lies within, and counts."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(1, dtype=torch.int64))

    def reset_parameters(self):
        self.calls += 1
        self.token.data.fill_(3)
        self.scale = nn.Parameter(torch.tensor(4.0))
        self.inner.reset_parameters()


def test_an_initialisation_writes_into_nothing_of_the_users():
    module = Whole()
    before, scale = values(module), module.scale
    found = new(module)
    torch.testing.assert_close(values(module), before, rtol=0, atol=0)
    assert module.scale is scale
    assert set(found) == {"token", "scale"}
    assert bool((found["token"] == 3).all())
    assert found["scale"].item() == 4


class Failing(Tokens):
    def reset_parameters(self, gain):
        raise AssertionError(gain)


def test_an_initialisation_that_cannot_be_called_is_none():
    torch.testing.assert_close(new(Failing())["token"], new(Tokens())["token"], rtol=0, atol=0)


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated")
@pytest.mark.parametrize("norm", [nn.utils.weight_norm, parametrizations.weight_norm, parametrizations.spectral_norm])
def test_weights_that_are_computed_of_others_are_drawn_by_those(norm):
    module = norm(nn.Conv2d(3, 4, 3)).eval()
    module(torch.zeros(1, 3, 5, 5))
    computed = module.weight.detach().clone()
    before = values(module)
    found = {name: one for part in module.modules() for name, one in new(part).items()}
    torch.testing.assert_close(values(module), before, rtol=0, atol=0)
    torch.testing.assert_close(module.weight.detach(), computed, rtol=0, atol=0)
    assert all(bool(one.isfinite().all()) for one in found.values())
    drawn = {
        id(old): one
        for part in module.modules()
        for old, one in zip(learned(part).values(), new(part).values(), strict=True)
    }
    assert all(not torch.equal(drawn[id(parameter)], parameter) for parameter in module.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_numbers_are_those_of_float32_in_every_precision(dtype):
    module = nn.Conv2d(3, 4, 3)
    expected = new(module)["weight"]
    found = new(copy.deepcopy(module).to(dtype).to(memory_format=torch.channels_last))["weight"]
    assert found.dtype == dtype
    assert found.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found, expected.to(dtype), rtol=0, atol=0)


def test_what_needs_a_gradient_does_so_still():
    module = nn.Linear(2, 2)
    module.bias.requires_grad_(False)
    assert {name: one.requires_grad for name, one in new(module).items()} == {"weight": True, "bias": False}
