"""Searches for images whose map has moved, or stays, shared by the attacks on maps."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.attacks._balls import Box, begun, step_of
from pellucid.core.attack import Objective, Outputs, Subject, all_rows
from pellucid.core.numbers import is_number
from pellucid.errors import OptionError

Measure = Callable[[Outputs], Tensor]
"""What is to be large at the end, (N,), as the network is: without softplus."""


@dataclass(frozen=True, eq=False)
class Search:
    """Steps along the sign of a slope, from a random start within the budget; the best image that was seen counts.

    A step takes a pass that is differentiated, with softplus of sharpness ``beta`` in place of ReLU, and one of the
    network as it is, which says what the step has reached.
    """

    subject: Subject
    epsilon: float
    steps: int
    step_size: float | None
    seed: int

    def best(
        self,
        objective: Objective,
        measure: Measure,
        answer_holds: bool,
        betas: Callable[[int], float | None],
        best: tuple[Tensor, Tensor],
    ) -> Tensor:
        """The images with the largest measure among those whose answer holds, or has moved.

        ``best`` are images (B, C, *space) and measures (B,) to begin with; ``betas`` gives the sharpness of each step.
        """
        subject, rows = self.subject, all_rows(self.subject)
        ball = Box.of(subject, self.epsilon)
        size = step_of(self.epsilon, self.step_size)
        now = ball.nearest(begun(ball, subject, self.seed), rows)
        found, largest = best
        for step in range(self.steps):
            slope = subject.slope(now, rows, objective, betas(step))
            now = ball.nearest(now + size * ball.step(slope.gradients).to(now), rows)
            seen = subject.outputs(now, rows)
            holds = subject.answer.holds(seen.logits, rows)
            counts = (holds == answer_holds).to(largest.device)
            value = torch.where(counts, measure(seen).to(largest), torch.full_like(largest, -math.inf))
            better = value > largest
            found = torch.where(better.reshape(-1, *(1,) * (now.ndim - 1)), now, found)
            largest = torch.where(better, value, largest)
        return found


def shown(maps: Tensor) -> Tensor:
    """What a heatmap shows of maps (N, *space): their positive part, divided by its sum; an empty map is 0."""
    positive = maps.relu()
    return positive / _wide(positive.flatten(1).sum(1), maps).clamp(min=torch.finfo(maps.dtype).tiny)


def apart(maps: Tensor, others: Tensor) -> Tensor:
    """The squared distances (N,) of maps (N, *space)."""
    return (maps - others).flatten(1).square().sum(1)


def relative(values: Tensor, unit: Tensor) -> Tensor:
    """Values (N,) in units (N,), of which none is smaller than what a number can hold."""
    return values / unit.clamp(min=torch.finfo(values.dtype).tiny)


def _wide(values: Tensor, like: Tensor) -> Tensor:
    return values.reshape(-1, *(1,) * (like.ndim - 1))


def check_sharpness(*betas: float | None) -> None:
    """Raise unless these are sharpnesses of softplus: above 0, or None."""
    for beta in betas:
        if beta is not None and not (is_number(beta) and 0 < beta < math.inf):
            raise OptionError(f"beta must be above 0, or None for the network as it is, got {beta}")
