"""What all tests on a GPU need: one, and arithmetic that is comparable with a CPU's."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # asked for by deterministic algorithms, before first use


@pytest.fixture(autouse=True)
def exact() -> Iterator[None]:
    """Products in float32: TF32, the default of convolutions, has a mantissa of 10 bits."""
    if not torch.cuda.is_available():
        pytest.fail("these tests need a GPU, and torch sees none: see `pellucid doctor`")
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before
