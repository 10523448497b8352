"""Provenance: versions, and digests that tell weights apart and nothing else."""

from __future__ import annotations

import copy
import platform
from importlib import metadata

import torch
from torch import nn

from pellucid.core.provenance import digest, versions
from tests.networks import TinyCNN, seeded


def test_versions() -> None:
    expected = {
        "pellucid": metadata.version("pellucid"),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    assert versions() == expected
    assert all(type(value) is str for value in map(str, versions().values()))


def test_the_same_weights_have_the_same_digest() -> None:
    model = seeded(TinyCNN)
    first = digest(model)
    assert len(first) == 64
    assert int(first, 16) >= 0
    assert digest(model) == digest(copy.deepcopy(model)) == digest(seeded(TinyCNN)) == first
    model.train().requires_grad_(False)
    model.to(memory_format=torch.channels_last)
    assert digest(model) == first


def test_anything_else_has_another() -> None:
    model = seeded(TinyCNN)
    found = {digest(model), digest(copy.deepcopy(model).half()), digest(nn.Sequential(model))}
    changed = copy.deepcopy(model)
    with torch.no_grad():
        changed.fc.bias[0] += 1e-6
    found.add(digest(changed))
    statistics = copy.deepcopy(model)
    statistics.features[3].running_mean[0] += 1e-6
    found.add(digest(statistics))
    reshaped = nn.Module()
    reshaped.register_buffer("x", torch.zeros(2, 3))
    found.add(digest(reshaped))
    reshaped.register_buffer("x", torch.zeros(3, 2))
    found.add(digest(reshaped))
    assert len(found) == 7


def test_all_kinds_of_tensors() -> None:
    model = nn.Module()
    kinds = (torch.bfloat16, torch.bool, torch.int64, torch.complex64)
    for index, dtype in enumerate(kinds):
        model.register_buffer(f"b{index}", torch.zeros(3, dtype=dtype))
    model.register_buffer("scalar", torch.tensor(3))
    model.register_buffer("empty", torch.zeros(0))
    assert len(digest(model)) == 64
