"""What the tests of the sources share."""

import pytest
import torch

from pellucid.errors import MissingPackageError
from pellucid.models.sources.base import package


def optional(name):
    try:
        return package(name, "a test")
    except MissingPackageError:
        pytest.skip(f"{name} is not installed")


def drawn(model, seed=1):
    """Weights for a model, other than it was made with."""
    generator = torch.Generator().manual_seed(seed)
    state = model.state_dict()
    return {
        key: torch.randn(value.shape, generator=generator).abs() * 0.05 if value.is_floating_point() else value
        for key, value in state.items()
    }


def noise(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def holds(model, state):
    own = model.state_dict()
    return own.keys() == state.keys() and all(torch.equal(own[key], state[key]) for key in own)


def one_line(error):
    return "\n" not in str(error.value)


def saved(path, content):
    """The path of a file with this content."""
    torch.save(content, path)
    return path
