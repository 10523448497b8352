"""Runtime: what it takes, and what it refuses before torch does."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest
import torch

import pellucid
from pellucid.core.runtime import PRECISIONS, Runtime
from pellucid.errors import OptionError


def test_what_is_not_said_is_the_models() -> None:
    runtime = pellucid.Runtime()
    assert (runtime.device, runtime.precision, runtime.dtype, runtime.channels_last) == ("auto", None, None, False)
    with pytest.raises(FrozenInstanceError):
        runtime.seed = 3


@pytest.mark.parametrize("name", PRECISIONS)
def test_precisions_are_torchs(name: str) -> None:
    assert Runtime(precision=name).dtype is getattr(torch, name)


def test_devices() -> None:
    assert Runtime("cpu").device == "cpu"
    assert Runtime(torch.device("cpu")).device == torch.device("cpu")


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"precision": "int8"}, ["int8", "float32, bfloat16, float16"]),
        ({"precision": torch.float16}, ["float16"]),
        ({"batch_size": 0}, ["batch_size", ">= 1", "0"]),
        ({"device": "toaster"}, ["toaster"]),
    ],
)
def test_what_cannot_be(options: dict[str, object], parts: list[str]) -> None:
    refused(options, parts)


def refused(options: dict[str, object], parts: list[str]) -> None:
    with pytest.raises(OptionError) as caught:
        Runtime(**options)
    assert "\n" not in str(caught.value)
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize(("seen", "part"), [(0, "no GPU"), (2, "2 GPUs")])
def test_devices_that_are_not_there(monkeypatch: pytest.MonkeyPatch, seen: int, part: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: seen > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: seen)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    refused({"device": "cuda:2"}, ["cuda:2", part])
    refused({"device": "mps"}, ["mps"])
    if seen:
        assert Runtime("cuda").device == "cuda"
        assert Runtime("cuda:1").device == "cuda:1"
