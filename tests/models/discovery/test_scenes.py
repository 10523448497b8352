"""Generated images: the same in every process, of any size and rank, and smoother than noise."""

from __future__ import annotations

import pytest
import torch

from pellucid.models.discovery.scenes import scenes, without_details


@pytest.mark.parametrize("shape", [(1, 64, 64), (3, 40, 56), (4, 7, 9), (1, 12, 16, 20), (2, 1, 8)])
def test_scenes_have_the_shape_of_images_and_about_their_spread(shape: tuple[int, ...]) -> None:
    found = scenes(range(3), torch.zeros(2, *shape, dtype=torch.float64))
    assert found.shape == (3, *shape)
    assert found.dtype == torch.float64
    for scene in found:
        assert abs(float(scene.mean())) < 1.3
        assert 0.4 < float(scene.std()) < 1.7
    assert not torch.equal(found[0], found[1])
    assert torch.equal(found, scenes(range(3), torch.ones(1, *shape, dtype=torch.float64)))


def test_the_process_s_random_numbers_are_left_alone() -> None:
    before = torch.get_rng_state()
    scenes([0], torch.zeros(1, 1, 16, 16))
    assert torch.equal(torch.get_rng_state(), before)


def test_neighbours_are_alike_in_scenes_and_not_in_noise() -> None:
    def likeness(image: torch.Tensor) -> float:
        return float(torch.corrcoef(torch.stack([image[..., 1:].flatten(), image[..., :-1].flatten()]))[0, 1])

    assert likeness(scenes([0], torch.zeros(1, 1, 96, 96))) > 0.8
    assert abs(likeness(torch.randn(1, 1, 96, 96, generator=torch.Generator().manual_seed(0)))) < 0.1


def test_a_scene_is_the_same_whichever_others_are_drawn() -> None:
    like = torch.zeros(1, 3, 16, 16)
    assert torch.equal(scenes([4], like), scenes(range(6), like)[4:5])


def test_without_details_the_means_of_quarters_are_left() -> None:
    image = torch.zeros(1, 1, 8, 8)
    image[..., :4, 4:] = torch.arange(16.0).reshape(4, 4)
    found = without_details(image)
    assert float(found[0, 0, 0, 7]) == pytest.approx(7.5)
    assert float(found[0, 0, 7, 0]) == pytest.approx(0)
    assert found.shape == image.shape
