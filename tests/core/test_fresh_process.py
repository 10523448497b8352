"""The catalogue in a fresh process: it knows all methods before anybody imports ``pellucid.methods``."""

from __future__ import annotations

import pellucid
from tests.fresh import fresh

CODE = "from pellucid.core import catalogue; print(' '.join(catalogue.{function}()))"
MESSAGE = """
from torch import nn
from pellucid.errors import NoSpatialLayerError
from pellucid.run.layers import recommended_layers

try:
    recommended_layers(nn.Sequential(nn.Flatten(), nn.Linear(3 * 224 * 224, 2)))
except NoSpatialLayerError as error:
    print(error)
"""


def test_whatever_is_asked_first_all_methods_are_known() -> None:
    names, black_box, message = fresh(CODE.format(function="names"), CODE.format(function="black_box_methods"), MESSAGE)
    assert names.split() == pellucid.available_methods()
    assert {"occlusion", "rise"} <= set(black_box.split())
    assert message.endswith("such as occlusion or rise")
