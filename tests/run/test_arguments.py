"""Arguments that are refused, in one line and before any work."""

from __future__ import annotations

import pytest
from torch import nn

import pellucid
from pellucid.errors import (
    LayerError,
    MethodError,
    NoAttentionError,
    OptionError,
    PellucidError,
)
from pellucid.methods.gradcam import GradCAM
from tests.networks import TinyCNN, images, seeded
from tests.run.explaining import THREE, refused


@pytest.fixture
def model() -> nn.Module:
    return seeded(TinyCNN).eval()


@pytest.mark.parametrize(
    ("options", "kind", "part"),
    [
        ({"layers": ["feature.0"]}, LayerError, "did you mean features.0"),
        ({"layers": [""]}, LayerError, "none of that name"),
        ({"layers": "features.0"}, OptionError, "['features.0']"),
        ({"layers": []}, OptionError, "at least one"),
        ({"layers": THREE, "fuse": "median"}, OptionError, "mean, max, weighted"),
        ({"output": True}, OptionError, "output must be a name or a position, got True"),
        ({"output": 1.0}, OptionError, "output must be a name or a position, got 1.0"),
        ({"runtime": "cpu"}, OptionError, "runtime must be a pellucid.Runtime, got 'cpu'"),
        ({"method": "gradcamm"}, MethodError, "did you mean gradcam"),
        ({"method": "rollout", "layers": THREE}, OptionError, "looks at none"),
        ({"method": GradCAM}, OptionError, "a name or a Method"),
        ({"method": None}, OptionError, "a name or a Method"),
        ({"method": "rollout"}, NoAttentionError, "gradcam"),
    ],
)
def test_requests_that_cannot_be(
    model: nn.Module, options: dict[str, object], kind: type[PellucidError], part: str
) -> None:
    refused(kind, part, model, images(1), **options)


def test_what_is_no_model() -> None:
    refused(OptionError, "got function", lambda x: x, images(1))


def test_an_explainer_refuses_before_any_work(model: nn.Module) -> None:
    for options in ({"method": "gradcamm"}, {"fuse": "median"}, {"head": "relu"}, {"layers": []}):
        with pytest.raises(OptionError):
            pellucid.Explainer(model, **options)
