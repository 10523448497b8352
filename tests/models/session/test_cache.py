"""What was found out about a model is kept as long as the model lives."""

from __future__ import annotations

import gc
import weakref

import pytest
from torch import nn

import pellucid
from pellucid.core.runtime import Runtime
from pellucid.models.session.cache import remembered, remembered_while
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


def test_a_value_is_found_once_for_a_model_and_a_key() -> None:
    found: list[str] = []

    def find(value: str) -> str:
        found.append(value)
        return value

    one, other = nn.Linear(2, 2), nn.Linear(2, 2)
    assert remembered(one, "a", lambda: find("one a")) == "one a"
    assert remembered(one, "a", lambda: find("again")) == "one a"
    assert remembered(one, ("a", 1), lambda: find("one a 1")) == "one a 1"
    assert remembered(other, "a", lambda: find("other a")) == "other a"
    assert found == ["one a", "one a 1", "other a"]


def test_nothing_is_a_value_too() -> None:
    model = nn.Linear(2, 2)
    assert remembered(model, "a", lambda: None) is None
    assert remembered(model, "a", lambda: 1) is None


def test_what_could_not_be_found_is_looked_for_again() -> None:
    def fail() -> int:
        raise ValueError("not now")

    model = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="not now"):
        remembered(model, "a", fail)
    assert remembered(model, "a", lambda: 3) == 3


def test_a_value_goes_with_its_model() -> None:
    class Value:
        pass

    model = nn.Linear(2, 2)
    gone = weakref.ref(remembered(model, "a", Value))
    assert gone() is not None
    del model
    gc.collect()
    assert gone() is None


def test_a_value_with_a_stamp_is_found_again_for_another_stamp_and_the_newest_alone_is_kept() -> None:
    model = nn.Linear(1, 1)
    found = iter(range(9))
    values = [remembered_while(model, "key", stamp, lambda: next(found)) for stamp in ("a", "a", "b", "a", "a")]
    assert values == [0, 0, 1, 2, 2]
