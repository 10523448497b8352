"""What was found out about a model is kept as long as the model lives."""

from __future__ import annotations

import gc
import weakref

import pytest
from torch import nn

import pellucid
from pellucid.core.runtime import Runtime
from tests.networks import TinyCNN, images, seeded


@pytest.mark.parametrize("runtime", [Runtime(), Runtime(precision="bfloat16")])
def test_a_model_dies_when_its_owner_drops_it(runtime: Runtime) -> None:
    def hooked() -> nn.Module:
        model = seeded(TinyCNN)
        model.fc.register_forward_hook(lambda _m, _i, out: out + 0 * len(model._modules))
        return model

    model = hooked()
    pellucid.explain(model, images(1), runtime=runtime)
    pellucid.recommended_layers(model, (32, 32))
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None
