"""Noise by which a network is looked into."""

from __future__ import annotations

import torch

from pellucid.core.inputs import Inputs
from pellucid.core.runtime import Runtime
from pellucid.models.discovery.noise import noise_image, noise_like, without_zeros
from pellucid.models.session.session import Session
from tests.networks import TinyCNN, images, seeded


def test_noise_is_the_same_every_time_and_draws_none_of_the_processs_numbers() -> None:
    state = torch.get_rng_state()
    found = noise_like(torch.zeros(3, 4, dtype=torch.float64))
    assert torch.equal(torch.get_rng_state(), state)
    assert found.dtype == torch.float64
    expected = torch.randn(3, 4, generator=torch.Generator().manual_seed(0)).double()
    assert torch.equal(found, expected)
    assert torch.equal(noise_like(torch.ones(3, 4, dtype=torch.float64)), expected)


def test_one_image_is_noise_whatever_the_images_are_and_the_rest_is_the_firsts() -> None:
    ages = torch.tensor([7, 8, 9])
    one, other = (noise_image(Inputs({"x": batch, "age": ages})) for batch in (images(3), images(3) + 5))
    assert one.images.shape == (1, 3, 32, 32)
    assert torch.equal(one.images, other.images)
    assert not torch.equal(one.images, images(1))
    assert one.tensors["age"].tolist() == [7]


def test_weights_that_are_all_zero_become_noise_and_the_models_stay_zero() -> None:
    model = seeded(TinyCNN).eval()
    with torch.no_grad():
        model.fc.weight.zero_()
        model.fc.bias.zero_()
        model.features[0].weight[0].zero_()
    session = Session.of(model, Runtime())
    filled = without_zeros(session).network
    assert torch.equal(filled.fc.weight, noise_like(model.fc.weight))
    assert not filled.fc.bias.any(), "a bias of 0 hides nothing"
    assert torch.equal(filled.features[0].weight, model.features[0].weight)
    assert not model.fc.weight.any()
    assert not session.network.fc.weight.any()
