"""Steps up an objective within a budget, shared by the attacks that project after each of them."""

from __future__ import annotations

import torch
from torch import Tensor

from pellucid.attacks._balls import Ball
from pellucid.core.attack import Objective, Subject, all_rows


def climbed(
    subject: Subject,
    ball: Ball,
    start: Tensor,
    objective: Objective,
    steps: int,
    step_size: float,
    early_stop: bool,
) -> Tensor:
    """The images after ``steps`` steps of projected gradient ascent from ``start`` (B, C, *space).

    ``early_stop``: an image whose answer has moved is left as it is, and takes no part in further passes. That it has
    is seen in the pass that gives the gradient for the next step.
    """
    rows = all_rows(subject)
    found = ball.nearest(start, rows)
    for _ in range(steps):
        slope = subject.slope(found[rows], rows, objective)
        going = subject.answer.holds(slope.logits, rows) if early_stop else torch.ones_like(rows, dtype=torch.bool)
        rows, gradients = rows[going], slope.gradients[going]
        if len(rows) == 0:
            break
        moved = found[rows] + step_size * ball.step(gradients).to(found)
        found = found.index_copy(0, rows, ball.nearest(moved, rows))
    return found
