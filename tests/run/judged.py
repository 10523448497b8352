"""What tests of ``evaluate`` share: a small network, maps, and a quick call."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

import pellucid
from pellucid import metrics as m
from tests.networks import TinyCNN, images, seeded

QUICK = (
    m.Deletion(3),
    m.Insertion(3, "mean"),
    m.AOPC(3, "blur"),
    m.AverageDrop(),
    m.IncreaseInConfidence(),
    m.ROADMoRF(2),
    m.ROADLeRF(2),
    m.Infidelity(4),
    m.FaithfulnessCorrelation(4, 0.3),
    m.SensitivityN(2, 4),
    m.ReplacementDrop(0.1),
)
"""One of each metric of faithfulness, with few steps."""


def model() -> nn.Module:
    return seeded(TinyCNN).eval()


def maps(count: int = 3, columns: int = 1, rank: int = 2, side: int = 32) -> Tensor:
    return torch.rand(count, columns, *(side,) * rank, generator=torch.Generator().manual_seed(6))


def evaluated(**changed: Any) -> pellucid.Scores:
    call: dict[str, Any] = {"model": model(), "images": images(), "explanation": maps(), "metrics": [m.Deletion(2)]}
    call |= changed
    return pellucid.evaluate(call.pop("model"), call.pop("images"), call.pop("explanation"), **call)
