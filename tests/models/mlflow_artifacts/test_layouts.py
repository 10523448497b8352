"""Every layout of checkpoints loads from MLflow as it does by its path: from a run, and from a logged model."""

from __future__ import annotations

import pytest
import torch

import pellucid
from tests.models import test_checkpoint_layouts as layouts
from tests.models.mlflow_artifacts.conftest import WRAPPED_VIT, Published

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*preprocessing", "ignore:.*mean and std"),
    pytest.mark.usefixtures("on_the_server"),
]


@pytest.mark.parametrize(
    ("kind", "layout", "form"),
    [
        *(("layouts", layout, "runs:/{run}/layouts/{layout}") for layout in layouts.LAYOUTS),
        *(("layouts", layout, "models:/{kept}/{layout}/{file}") for layout in layouts.LAYOUTS),
        *(("wrapped", layout, "runs:/{run}/wrapped/{layout}/{file}") for layout in (*layouts.WRAPPED, WRAPPED_VIT)),
    ],
)
def test_a_layout(published: Published, kind: str, layout: str, form: str) -> None:
    (path,) = (published.folder / kind / layout).iterdir()
    spec = form.format(run=published.run, kept=published.kept, layout=layout, file=path.name)
    by_path, found = pellucid.load_model(checkpoint=path), pellucid.load_model(spec)
    known, info = pellucid.model_info(by_path), pellucid.model_info(found)
    assert (info.spec, info.checkpoint_sha256, info.weights) == (known.spec, known.checkpoint_sha256, "checkpoint")
    side = 224 if layout == WRAPPED_VIT else 64
    images = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        assert torch.equal(found(images), by_path(images))
