"""Settings for all tests: one torch thread per worker."""

from __future__ import annotations

import os

import torch

if "PYTEST_XDIST_WORKER" in os.environ:
    # There are as many workers as cores, so more threads would compete for them.
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"  # for the commands that tests run
