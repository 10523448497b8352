"""Networks that call modules within ``torch.vmap``: one line that names what works, and none of torch's own errors."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state

import pellucid
from tests.networks import seeded


class PerImage(nn.Module):
    """A convolution that is called for each image by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.fc = nn.Linear(8, 2)

    def forward(self, images: Tensor) -> Tensor:
        found = torch.vmap(lambda image: self.conv(image[None])[0])(images)
        return self.fc(found.relu().mean((2, 3)))


class Ensemble(nn.Module):
    """Torch's own recipe for ensembles."""

    def __init__(self) -> None:
        super().__init__()
        self.members = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2)
            )
            for _ in range(3)
        )

    def forward(self, images: Tensor) -> Tensor:
        parameters, buffers = stack_module_state(list(self.members))
        run = torch.vmap(lambda own, kept: functional_call(self.members[0], (own, kept), (images,)))
        return run(parameters, buffers).mean(0)


@pytest.mark.parametrize("build", [PerImage, Ensemble])
def test_what_runs_within_vmap_is_refused_in_a_line_and_the_remedy_works(build: type[nn.Module]) -> None:
    model, images = seeded(build).eval(), torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with pytest.raises(pellucid.PellucidError, match="use a method that needs no layer, such as occlusion") as told:
        pellucid.explain(model, images, "gradcam")
    assert "\n" not in str(told.value)
    method = pellucid.methods.Occlusion(window=8, stride=8)
    assert pellucid.explain(model, images, method).heatmaps.isfinite().all()


def test_a_layer_that_is_named_is_refused_in_a_line() -> None:
    with pytest.raises(pellucid.PellucidError, match=r"'members\.0\.0' was asked for; the model runs it within torch"):
        pellucid.explain(seeded(Ensemble).eval(), torch.rand(1, 3, 32, 32), "gradcam", layers=["members.0.0"])
