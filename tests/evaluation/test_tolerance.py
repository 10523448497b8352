"""The distance that a peak may have from a finding, against a loop over all pairs of pixels."""

from __future__ import annotations

import math

import pytest
import torch

from pellucid.errors import DataError, OptionError
from pellucid.evaluation.scoring.tolerance import Tolerance
from pellucid.metrics.pointing import widened

SPACE = (11, 17)


def mask_of(seed: int) -> torch.Tensor:
    return torch.rand(SPACE, generator=torch.Generator().manual_seed(seed)) < 0.02


def replica(mask: torch.Tensor, limit: float, spacing: tuple[float, float]) -> torch.Tensor:
    found = torch.zeros(SPACE, dtype=torch.bool)
    for row in range(SPACE[0]):
        for column in range(SPACE[1]):
            for y, x in mask.nonzero().tolist():
                if math.hypot((y - row) * spacing[0], (x - column) * spacing[1]) <= limit + 1e-12:
                    found[row, column] = True
    return found


@pytest.mark.parametrize("text", ["3 px", "0.7 px", "20 %", "2.5 mm"])
def test_widened_masks_are_those_of_a_loop(text: str) -> None:
    tolerance, spacing = Tolerance.of(text), (0.5, 1.25)
    limit = tolerance.value * math.hypot(*SPACE) / 100 if tolerance.unit == "%" else tolerance.value
    for seed in range(4):
        expected = replica(mask_of(seed), limit, spacing if tolerance.unit == "mm" else (1, 1))
        assert torch.equal(tolerance.widened(mask_of(seed), spacing), expected)


def test_pixels_are_those_of_the_pointing_game() -> None:
    for seed in range(4):
        expected = widened(mask_of(seed)[None], 3)[0]
        assert torch.equal(Tolerance.of("3 px").widened(mask_of(seed), None), expected)


def test_nothing_is_widened_by_nothing_or_of_an_empty_mask() -> None:
    assert torch.equal(Tolerance.of("0 px").widened(mask_of(0), None), mask_of(0))
    assert not Tolerance.of("5 px").widened(torch.zeros(SPACE, dtype=torch.bool), None).any()


def test_millimetres_need_a_spacing() -> None:
    mask = torch.ones(SPACE, dtype=torch.bool)
    with pytest.raises(DataError, match="no spacing"):
        Tolerance.of("5 mm").widened(mask, None)


@pytest.mark.parametrize("text", ["", "5", "five px", "5 cm", "-1 px", "nan px", "1e9 px"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(OptionError, match="px"):
        Tolerance.of(text)
