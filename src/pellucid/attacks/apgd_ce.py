"""APGD-CE (Croce & Hein 2020, arXiv:2003.01690): PGD that sets its own step sizes, on the answer's loss."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from pellucid.attacks._auto_pgd import climbed
from pellucid.attacks._balls import Box, begun
from pellucid.core.attack import Attack, Subject, check_budget, loss_of, register_attack


@register_attack("apgd_ce")
@dataclass(frozen=True)
class APGDCE(Attack):
    """Auto-PGD in the L∞ norm on the loss L of the answer: cross-entropy for one class of several.

    From a random start in the box |δ| ≤ ε, or from the image itself, with the step size η from 2ε on and α = 0.75::

        z ← P( x_k + η · sign ∂L(x_k, y)/∂x ),   x_{k+1} ← P( x_k + α (z − x_k) + (1 − α)(x_k − x_{k−1}) )

    P clips to the box and the range. At checkpoints, after ⌈0.22 N⌉ steps and ever more often, η is halved for an image
    if the loss rose in fewer than 0.75 of the steps since the last one, or if η stayed there and the largest loss did,
    too; it then goes on from the image with the largest loss. An image is done once its answer moves. It takes
    ``steps`` + 1 forward and backward passes. ``epsilon`` is in pixels' unit, in which an image is in [0, 1].
    """

    epsilon: float = 8 / 255
    steps: int = 100
    seed: int = 0
    random_start: bool = True

    def __post_init__(self) -> None:
        """Refuse options outside their range."""
        check_budget(self.epsilon, self.steps, seed=self.seed)

    def search(self, subject: Subject) -> Tensor:
        """The first images that moved the answer, else those with the largest loss."""
        ball = Box.of(subject, self.epsilon)
        start = begun(ball, subject, self.seed if self.random_start else None)
        return climbed(subject, ball, start, loss_of(subject), self.epsilon, self.steps)
