"""Auto-PGD (Croce & Hein 2020, arXiv:2003.01690, algorithm 1): steps with momentum, halved where they gain nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.attacks._balls import Ball
from pellucid.core.attack import Objective, Subject, all_rows

MOMENTUM = 0.75
"""α: how much of a step is the new one, the rest the one before."""
GAINS = 0.75
"""ρ: a step size stays where at least this share of the steps since the last checkpoint raised the loss."""


@dataclass(frozen=True, eq=False)
class _State:
    """The images (B, C, *space) that are searched from, and the best of each with its gradient and loss.

    ``done`` (B,): those whose answer has moved; their ``best`` are the first that moved it.
    """

    now: Tensor
    before: Tensor
    gradients: Tensor
    losses: Tensor
    best: Tensor
    best_gradients: Tensor
    best_losses: Tensor
    done: Tensor


@dataclass(frozen=True, eq=False)
class _Window:
    """What was seen of each image since the last checkpoint, or at it.

    ``gains`` (B,): steps that raised the loss; ``best`` (B,): the largest loss at the checkpoint; ``halved`` (B,):
    whether the step size was halved at it.
    """

    gains: Tensor
    best: Tensor
    halved: Tensor


def checkpoints(steps: int) -> tuple[int, ...]:
    """The steps after which step sizes may be halved: ⌈p_j N⌉ with p = 0, 0.22, …, each gap 0.03 less, at least 0.06.

    >>> checkpoints(100)[:5]
    (22, 41, 57, 70, 80)
    """
    found, last, share = list[int](), 0.0, 0.22
    while share <= 1:
        found.append(math.ceil(round(share * steps, 9)))
        last, share = share, share + max(share - last - 0.03, 0.06)
    return tuple(dict.fromkeys(found))


def climbed(subject: Subject, ball: Ball, start: Tensor, objective: Objective, epsilon: float, steps: int) -> Tensor:
    """The images after ``steps`` + 1 passes: the first that moved each answer, else that with the largest loss.

    An image whose answer has moved takes no part in further passes.
    """
    at, sizes = checkpoints(steps), torch.full((len(start),), 2 * epsilon, device=start.device, dtype=start.dtype)
    state = _first(subject, ball, start, objective)
    window = _Window(torch.zeros_like(sizes), state.best_losses, torch.zeros_like(state.done))
    for step in range(steps):
        rows = all_rows(subject)[~state.done]
        if len(rows) == 0:
            break
        share = 1.0 if step == 0 else MOMENTUM
        moved = _moved(ball, state, rows, sizes, share)
        state, gained = _seen(subject, state, rows, moved, objective)
        window = _Window(window.gains + gained, window.best, window.halved)
        if step + 1 in at:
            width = step + 1 - max((one for one in at if one <= step), default=0)
            state, window, sizes = _checked(state, window, sizes, width)
    return state.best


def _first(subject: Subject, ball: Ball, start: Tensor, objective: Objective) -> _State:
    rows = all_rows(subject)
    now = ball.nearest(start, rows)
    slope = subject.slope(now, rows, objective)
    done = ~subject.answer.holds(slope.logits, rows)
    gradients, losses = slope.gradients.to(now), slope.values
    return _State(now, now, gradients, losses, now, gradients, losses, done.to(now.device))


def _moved(ball: Ball, state: _State, rows: Tensor, sizes: Tensor, share: float) -> Tensor:
    """The next images: z = P(x + η s), then P(x + α (z − x) + (1 − α)(x − x before))."""
    now, before = state.now[rows], state.before[rows]
    size = sizes[rows].reshape(-1, *(1,) * (now.ndim - 1))
    ahead = ball.nearest(now + size * ball.step(state.gradients[rows]), rows)
    return ball.nearest(now + share * (ahead - now) + (1 - share) * (now - before), rows)


def _seen(subject: Subject, state: _State, rows: Tensor, moved: Tensor, objective: Objective) -> tuple[_State, Tensor]:
    """The state after a pass of the next images, and which losses (B,) rose."""
    slope = subject.slope(moved, rows, objective)
    gradients, values = slope.gradients.to(moved), slope.values
    out = ~subject.answer.holds(slope.logits, rows).to(moved.device)
    better = (values > state.best_losses[rows]) | out
    gained = torch.zeros_like(state.losses).index_copy(0, rows, (values > state.losses[rows]).to(state.losses))
    chosen = rows[better]
    return _State(
        now=state.now.index_copy(0, rows, moved),
        before=state.now,
        gradients=state.gradients.index_copy(0, rows, gradients),
        losses=state.losses.index_copy(0, rows, values),
        best=state.best.index_copy(0, chosen, moved[better]),
        best_gradients=state.best_gradients.index_copy(0, chosen, gradients[better]),
        best_losses=state.best_losses.index_copy(0, chosen, values[better]),
        done=state.done.index_copy(0, rows, out),
    ), gained


def _checked(state: _State, window: _Window, sizes: Tensor, width: int) -> tuple[_State, _Window, Tensor]:
    """At a checkpoint: where the loss rose too seldom or gained nothing, half the step size, from the best image on.

    The image before stays what it was, so that the momentum of the next step is that from there to the best image.
    """
    seldom = window.gains < GAINS * width
    nothing = ~window.halved & (window.best >= state.best_losses)
    halved = seldom | nothing
    wide = halved.reshape(-1, *(1,) * (state.now.ndim - 1))
    state = _State(
        now=torch.where(wide, state.best, state.now),
        before=state.before,
        gradients=torch.where(wide, state.best_gradients, state.gradients),
        losses=torch.where(halved, state.best_losses, state.losses),
        best=state.best,
        best_gradients=state.best_gradients,
        best_losses=state.best_losses,
        done=state.done,
    )
    return (
        state,
        _Window(torch.zeros_like(window.gains), state.best_losses, halved),
        torch.where(halved, sizes / 2, sizes),
    )
