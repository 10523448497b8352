"""A network that learnt findings of drawn radiographs from labels: ``--model examples/phantom_cnn.py:build``."""

from __future__ import annotations

from torch import nn

from pellucid import phantom


def build() -> nn.Module:
    """The network; what pellucid knows of it, such as its classes, stays known."""
    return phantom.unguided_cnn()
