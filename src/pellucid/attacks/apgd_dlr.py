"""APGD-DLR (Croce & Hein 2020, arXiv:2003.01690): APGD on a ratio of logits, which their scale does not change."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pellucid.attacks._auto_pgd import climbed
from pellucid.attacks._balls import Box, begun
from pellucid.core.attack import Attack, Outputs, Subject, check_budget, register_attack
from pellucid.core.head import over_places


@register_attack("apgd_dlr")
@dataclass(frozen=True)
class APGDDLR(Attack):
    """Auto-PGD in the L∞ norm (``apgd_ce``) on the difference of logits ratio, for at least three exclusive classes.

    With the logits z in descending order z_π1 ≥ z_π2 ≥ z_π3, and the label y::

        DLR(x, y) = − ( z_y − max_{i ≠ y} z_i ) / ( z_π1 − z_π3 )

    Unlike the cross-entropy it does not vanish where the network is sure of its answer. ``epsilon`` is in pixels' unit,
    in which an image is in [0, 1].
    """

    epsilon: float = 8 / 255
    steps: int = 100
    seed: int = 0
    random_start: bool = True

    def __post_init__(self) -> None:
        """Refuse options outside their range."""
        check_budget(self.epsilon, self.steps, seed=self.seed)

    def search(self, subject: Subject) -> Tensor:
        """The first images that moved the answer, else those with the largest ratio."""
        ball = Box.of(subject, self.epsilon)
        start = begun(ball, subject, self.seed if self.random_start else None)

        def objective(found: Outputs) -> Tensor:
            logits = over_places(found.logits)
            subject.answer.check_ratio(logits.shape[1], self.name)
            return logits_ratio(logits, subject.answer.labels[found.rows].to(logits.device))

        return climbed(subject, ball, start, objective, self.epsilon, self.steps)


def logits_ratio(logits: Tensor, labels: Tensor) -> Tensor:
    """The difference of logits ratio (N,) of logits (N, C) for labels (N,).

    >>> logits_ratio(torch.tensor([[3.0, 1.0, 0.0]]), torch.tensor([0]))
    tensor([-0.6667])
    """
    largest, order = logits.topk(3, dim=1)
    own = logits.gather(1, labels[:, None])[:, 0]
    other = torch.where(order[:, 0] == labels, largest[:, 1], largest[:, 0])
    return -(own - other) / (largest[:, 0] - largest[:, 2] + 1e-12)
