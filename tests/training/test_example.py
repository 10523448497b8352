"""The example stops by relevance mass as it says."""

from __future__ import annotations

import logging
import re
import runpy
from pathlib import Path

import pytest
import torch

EXAMPLE = Path(__file__).parents[2] / "examples" / "stop_by_relevance_mass.py"


def test_the_loss_gets_better_and_the_maps_do_not(capsys: pytest.CaptureFixture[str]) -> None:
    level, threads = logging.getLogger("pytorch_lightning").level, torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            runpy.run_path(str(EXAMPLE), run_name="__main__")
    finally:
        logging.getLogger("pytorch_lightning").setLevel(level)
        torch.set_num_threads(threads)
    *epochs, last = capsys.readouterr().out.splitlines()
    figures = [re.match(r"epoch (\d): loss (\d\.\d{3}), relevance mass (\d\.\d{3})$", line) for line in epochs]
    losses, masses = ([float(found[column]) for found in figures] for column in (2, 3))
    best = masses.index(max(masses))
    assert last == f"stopped after epoch {len(epochs) - 1}; epoch {best} is kept"
    assert len(epochs) == best + 3 <= 8
    assert losses[-1] < losses[0]
