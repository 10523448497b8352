"""Torchvision's networks for videos."""

import pytest
import torch
import torchvision
from torch import nn

import pellucid
from pellucid.errors import SourceError
from pellucid.models.checkpoints.reference import describe
from pellucid.models.sources import load_model, model_info
from pellucid.models.sources.finding import find
from tests.models.sources.helpers import holds, noise


def test_torchvision_videos(tmp_path):
    model = load_model("torchvision:r3d_18")
    info = model_info(model)
    assert (len(info.classes), info.preprocessing) == (400, None)
    assert pellucid.explain(model, noise(1, 3, 4, 32, 32), targets=0).heatmaps.shape == (1, 1, 4, 32, 32)
    own = torchvision.models.video.mc3_18(num_classes=6)
    own.stem[0] = nn.Conv3d(1, 64, (3, 7, 7), stride=(1, 2, 2), padding=(1, 3, 3), bias=False)
    torch.save(own.state_dict(), tmp_path / "a.pt")
    model = load_model("torchvision:mc3_18", tmp_path / "a.pt")
    assert holds(model, own.state_dict())
    assert model_info(model).classes is None
    with pytest.raises(SourceError, match="did you mean r3d_18"):
        load_model("torchvision:r3d_17")


@pytest.mark.parametrize("name", torchvision.models.list_models(module=torchvision.models.video))
def test_torchvision_videos_say_where_the_head_is(name):
    source, _ = find(f"torchvision:{name}")
    reference = describe(name, source.outline(pellucid.models.sources.base.ModelRequest(name)))
    assert reference.shapes[f"{reference.heads[0]}.weight"][0] == 400
    assert reference.shapes[f"{reference.first}.weight"][1] == 3
