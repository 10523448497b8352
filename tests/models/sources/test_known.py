"""What is known of a model."""

import gc

import timm
from torch import nn

from pellucid.models.sources import ModelInfo, known, load_model, model_info


def test_other_models():
    assert model_info(nn.Linear(1, 1)) == ModelInfo()
    info = model_info(timm.create_model("resnet18"))
    assert "timm" in info.preprocessing.source
    assert (info.spec, info.weights, info.classes) == (None, None, None)


def test_models_are_remembered_weakly():
    gc.collect()
    before = len(known._KNOWN)
    model = load_model("torchvision:squeezenet1_1")
    assert len(known._KNOWN) == before + 1
    del model
    gc.collect()
    assert len(known._KNOWN) == before
