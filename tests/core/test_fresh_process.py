"""The catalogue in a fresh process: it knows all methods before anybody imports ``pellucid.methods``."""

from __future__ import annotations

import subprocess
import sys

import pellucid

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


def fresh(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_all_names_are_known() -> None:
    assert fresh(CODE.format(function="names")).split() == pellucid.available_methods()


def test_black_box_methods_are_known() -> None:
    assert "occlusion" in fresh(CODE.format(function="black_box_methods")).split()


def test_a_message_that_suggests_methods_is_complete() -> None:
    assert fresh(MESSAGE).endswith("such as occlusion or rise")
